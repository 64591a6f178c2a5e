//! Compiles `wa/v1/*.proto` with protox, a protoc in Rust, so that no protoc is needed on PATH.

#[cfg(feature = "wire")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=wa");
    let files = protox::compile(["wa/v1/link.proto", "wa/v1/fleet.proto", "wa/v1/spool.proto"], ["."])?;
    // A secret must not be printed by accident: its Debug is written by hand.
    const SECRET: [&str; 3] = ["wa.v1.Secret", "wa.v1.Credentials", "wa.v1.PrepareHome"];
    tonic_prost_build::configure().skip_debug(SECRET).compile_fds(files)?;
    Ok(())
}

#[cfg(not(feature = "wire"))]
fn main() {}

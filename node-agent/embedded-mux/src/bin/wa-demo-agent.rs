//! A scripted agent: `wa-demo-agent claude …`, `wa-demo-agent replay FILE …`, or under an agent's name.

fn main() -> std::process::ExitCode {
    wa_embedded_mux::demo::agent_main(std::env::args_os())
}

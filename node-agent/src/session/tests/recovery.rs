//! A node that was off until its certificate had run out.

use wa_link::recovery::{NONCE, is_signed, message};
use wa_proto::wire::v1::enrollment_server::Enrollment;

use super::*;

const NUMBER: [u8; NONCE] = [7; NONCE];

#[tonic::async_trait]
impl Enrollment for Fake {
    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("nobody joins"))
    }

    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        Ok(Response::new(v1::ChallengeResponse { nonce: NUMBER.to_vec() }))
    }

    async fn recover(
        &self,
        request: Request<v1::RecoverRequest>,
    ) -> Result<Response<v1::RecoverResponse>, Status> {
        let request = request.into_inner();
        let response = v1::RecoverResponse {
            certificate_pem: self.ca.sign(&request.csr_pem),
            ca_pem: self.ca.pem.clone(),
            agent_certificate_pem: self.ca.sign(&request.agent_csr_pem),
        };
        self.with(|memory| memory.recoveries.push(request));
        Ok(Response::new(response))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_ran_out_while_it_was_off_comes_back_by_its_old_key() {
    let stage = stage_with(1 << 20, true, (2000, 2010)).await;
    stage.fake.until("a session", |memory| (!memory.hellos.is_empty()).then_some(())).await;
    let (key, requests) =
        stage.fake.with(|memory| (memory.keys[0].clone(), std::mem::take(&mut memory.recoveries)));
    let [request] = requests.as_slice() else { panic!("{} recoveries", requests.len()) };
    let signed = message(&NUMBER, &request.csr_pem, &request.agent_csr_pem);
    let key = KeyPair::from_pem(&key).unwrap();
    assert!(is_signed(key.public_key_raw(), &signed, &request.signature));
    // What it was given is kept: the next session needs no recovery.
    let node = Context::load(&stage.identity).unwrap();
    let agent = Context::load(&stage.identity.with_file_name("agent.context.toml")).unwrap();
    assert_eq!((agent.role, agent.name), (Role::Agent, node.name));
    assert!(![&agent.identity.key_pem, &key.serialize_pem()].contains(&&node.identity.key_pem));
    stage.fake.hang_up();
    stage.fake.until("another session", |memory| (memory.hellos.len() == 2).then_some(())).await;
    assert!(stage.fake.with(|memory| memory.recoveries.is_empty()));
    stage.stop().await;
}

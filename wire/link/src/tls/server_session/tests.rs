//! A client's session and a server's, without packets between them.

use bytes::BytesMut;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{ClientConfig as _, ServerConfig as _, Session};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::tls::provider;

/// Both sides, and the server's settings.
struct Sides {
    client: Box<dyn Session>,
    server: Box<dyn Session>,
    config: Arc<ServerTls>,
}

fn sides() -> Sides {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(ServerTls::new(server).unwrap());
    let params = TransportParameters::read(Side::Client, &mut Cursor::new(&[])).unwrap();
    let client = Arc::new(QuicClientConfig::try_from(client).unwrap());
    Sides {
        client: client.start_session(1, "localhost", &params).unwrap(),
        server: config.clone().start_session(1, &params),
        config,
    }
}

impl Sides {
    /// Carries all that `from` has to say, as quinn-proto asks for it: true if there was something.
    fn carry(from: &mut dyn Session, to: &mut dyn Session) -> bool {
        let mut said = false;
        loop {
            let mut buf = Vec::new();
            let keys = from.write_handshake(&mut buf);
            if buf.is_empty() && keys.is_none() {
                return said;
            }
            said = true;
            to.read_handshake(&buf).unwrap();
        }
    }

    /// Until neither has anything to say.
    fn shake(&mut self) {
        while Sides::carry(&mut *self.client, &mut *self.server)
            | Sides::carry(&mut *self.server, &mut *self.client)
        {}
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
    }

    /// Whether the server's session still has its handshake.
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.config) == 2
    }
}

#[test]
fn nothing_of_the_handshake_is_left_and_the_rest_is_small() {
    let mut sides = sides();
    assert!(sides.is_kept());
    Sides::carry(&mut *sides.client, &mut *sides.server);
    Sides::carry(&mut *sides.server, &mut *sides.client);
    assert!(sides.server.is_handshaking() && sides.is_kept(), "the client's Finished is still to come");
    sides.shake();
    assert!(!sides.is_kept());
    assert!(size_of::<ServerSession>() <= 64, "{}", size_of::<ServerSession>());
}

#[test]
fn of_the_exporter_there_is_the_one_value_that_proofs_are_made_of() {
    let mut sides = sides();
    sides.shake();
    let (mut here, mut there) = ([0; 32], [1; 32]);
    sides.client.export_keying_material(&mut there, EXPORTER_LABEL, b"").unwrap();
    sides.server.export_keying_material(&mut here, EXPORTER_LABEL, b"").unwrap();
    assert_eq!(here, there);
    for (bytes, label, context) in
        [(32, &b"another"[..], &b""[..]), (32, EXPORTER_LABEL, b"x"), (33, EXPORTER_LABEL, b"")]
    {
        let mut out = vec![0; bytes];
        assert_eq!(
            sides.server.export_keying_material(&mut out, label, context),
            Err(ExportKeyingMaterialError)
        );
    }
}

#[test]
fn after_the_end_every_byte_is_an_unexpected_message_and_no_byte_is_none() {
    let mut sides = sides();
    sides.shake();
    assert_eq!(sides.server.read_handshake(b""), Ok(false));
    for bytes in [&[24, 0, 0, 1, 0][..], &[0], &[255; 100]] {
        let error = sides.server.read_handshake(bytes).unwrap_err();
        assert_eq!(error.code, TransportErrorCode::crypto(10));
    }
    let mut buf = Vec::new();
    assert!(sides.server.write_handshake(&mut buf).is_none() && buf.is_empty());
    assert!(sides.server.transport_parameters().unwrap().is_none());
    assert!(sides.server.early_crypto().is_none() && sides.server.early_data_accepted().is_none());
}

#[test]
fn each_phase_has_the_keys_that_the_client_has() {
    let mut sides = sides();
    sides.shake();
    for phase in 0..4_u8 {
        let here = sides.server.next_1rtt_keys().unwrap();
        let there = sides.client.next_1rtt_keys().unwrap();
        assert_eq!(here.local.tag_len(), there.local.tag_len());
        assert_eq!(here.local.confidentiality_limit(), there.local.confidentiality_limit());
        assert_eq!(here.local.integrity_limit(), there.local.integrity_limit());
        if phase % 2 == 0 {
            // As quinn-proto does: the phase begins, and only then is anything sealed. Else it seals before that.
            sides.server.next_1rtt_keys().unwrap();
            sides.client.next_1rtt_keys().unwrap();
        }
        for (seals, opens) in [(&here.local, &there.remote), (&there.local, &here.remote)] {
            let mut packet = [&[phase; 40][..], &[0; 16]].concat();
            seals.encrypt(7, &mut packet, 8);
            let mut payload = BytesMut::from(&packet[8..]);
            opens.decrypt(7, &packet[..8], &mut payload).unwrap();
            assert_eq!(payload, [phase; 32][..]);
        }
    }
}

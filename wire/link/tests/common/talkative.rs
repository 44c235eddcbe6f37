//! A client that says something to TLS after the handshake.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

/// Its TLS.
pub(crate) struct Talkative {
    tls: Arc<QuicClientConfig>,
    says: &'static [u8],
}

impl Talkative {
    /// One that says this.
    pub(crate) fn new(tls: QuicClientConfig, says: &'static [u8]) -> Talkative {
        Talkative { tls: Arc::new(tls), says }
    }
}

impl ClientConfig for Talkative {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let tls = self.tls.clone().start_session(version, server_name, params)?;
        Ok(Box::new(Talking { tls, says: self.says, keys: 0 }))
    }
}

struct Talking {
    tls: Box<dyn Session>,
    says: &'static [u8],
    /// Keys so far: the handshake's, then 1-RTT's, under which it speaks.
    keys: u32,
}

impl Session for Talking {
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        if self.keys == 2 {
            buf.extend_from_slice(std::mem::take(&mut self.says));
        }
        let keys = self.tls.write_handshake(buf);
        self.keys += u32::from(keys.is_some());
        keys
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.tls.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.tls.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.tls.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.tls.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.tls.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.tls.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.tls.transport_parameters()
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.tls.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.tls.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.tls.export_keying_material(output, label, context)
    }
}

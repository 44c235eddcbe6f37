//! Making application messages.

use tls_codec::Serialize;
use wire::ClientMsgId;
use wire::limits::MESSAGES_PER_EPOCH_MAX;
use wire_mls::{Binding, GroupName};

use crate::CONTENT_BYTES_MAX;
use crate::engine::Mls;
use crate::error::MlsError;
use crate::kv::Kv;

impl Mls {
    /// Encrypts a content of at most [`CONTENT_BYTES_MAX`] bytes for the group's epoch, bound to its `client_msg_id`. The result, a
    /// PrivateMessage, fits `wire::limits::CONTENT_BYTES_MAX`. If the server says that the epoch is stale, the content is encrypted
    /// anew under the same id once the commit that came before has been received.
    ///
    /// A pending commit of this device does not hinder it.
    ///
    /// # Errors
    /// [`MlsError::TooLarge`], [`MlsError::Creating`], [`MlsError::NotMember`]; [`MlsError::UpdateFirst`] after
    /// [`MESSAGES_PER_EPOCH_MAX`] messages in this epoch.
    pub fn encrypt(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        client_msg_id: ClientMsgId,
        content: &[u8],
    ) -> Result<Vec<u8>, MlsError> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(MlsError::TooLarge);
        }
        self.call(kv, |call| {
            let mut open = call.open(group)?;
            let refusal = if open.is_creating() {
                Some(MlsError::Creating)
            } else if open.note.sent >= MESSAGES_PER_EPOCH_MAX {
                Some(MlsError::UpdateFirst)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                call.keep(open);
                return Err(refusal);
            }
            open.mls.set_aad(Binding(client_msg_id).to_bytes().to_vec());
            let message =
                open.mls.create_message(&call.provider, call.key, content).map_err(MlsError::library)?;
            let bytes = message.tls_serialize_detached().map_err(MlsError::library)?;
            open.note.sent += 1;
            call.save(open)?;
            Ok(bytes)
        })
    }
}

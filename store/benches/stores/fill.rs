//! So many messages in each chat, however long that takes.

use std::time::Duration;

use bytes::Bytes;
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::load;
use super::place::AnyStore;

/// Bytes of what a message says. They are random, as what phones have sealed is.
pub(crate) const CONTENT_BYTES: usize = 100;

/// Between two tries of a message that the store was too busy for.
const PAUSE: Duration = Duration::from_millis(100);

/// Says the messages of these numbers in each of so many chats, one after another in each.
pub(crate) async fn fill(store: &AnyStore, logs: u16, numbers: std::ops::Range<u64>) -> Result<(), String> {
    let writer = |log: u16| {
        let (store, numbers) = (store.clone(), numbers.clone());
        tokio::spawn(async move {
            for number in numbers {
                say(&store, log, number * u64::from(logs) + u64::from(log)).await?;
            }
            Ok::<(), String>(())
        })
    };
    let writers: Vec<_> = (0..logs).map(writer).collect();
    for writer in writers {
        writer.await.expect("a writer")?;
    }
    Ok(())
}

/// Says one message until it is acknowledged; that is once, however often it is asked.
async fn say(store: &AnyStore, log: u16, n: u64) -> Result<(), String> {
    let mut content = [0; CONTENT_BYTES];
    ChaCha8Rng::seed_from_u64(n).fill_bytes(&mut content);
    loop {
        match store.execute(load::append_of(log, n, Bytes::copy_from_slice(&content))).await {
            Ok(output) if load::is_committed(&output) => return Ok(()),
            Err(error) if error.retry_after().is_some() => tokio::time::sleep(PAUSE).await,
            other => return Err(format!("{other:?}")),
        }
    }
}

//! The admin listener: loopback HTTP, apart from clients. `GET /health` is 200 while the node serves and 503 while it
//! starts or drains; `GET /metrics` is 200 in all of these, in Prometheus' text format.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How far a node is; shared with whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicU8>);

/// A stage of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Not yet serving.
    Starting = 0,
    /// Serving.
    Serving = 1,
    /// Told to stop.
    Draining = 2,
}

impl Health {
    /// Says how far the node is.
    pub fn set(&self, life: Life) {
        self.0.store(life as u8, Ordering::Release);
    }

    /// How far the node is.
    pub fn life(&self) -> Life {
        match self.0.load(Ordering::Acquire) {
            0 => Life::Starting,
            1 => Life::Serving,
            _ => Life::Draining,
        }
    }
}

/// Binds the admin listener; the future serves until it is dropped.
///
/// # Errors
/// The address is in use or not ours.
pub async fn bind(
    addr: SocketAddr,
    health: Health,
    metrics: Metrics,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>>)> {
    let listener = TcpListener::bind(addr).await?;
    let local = listener.local_addr()?;
    let router = Router::new()
        .route("/health", get(answer))
        .route("/metrics", get(scrape))
        .with_state((health, metrics));
    Ok((local, axum::serve(listener, router).into_future()))
}

async fn scrape(
    State((health, metrics)): State<(Health, Metrics)>,
) -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], metrics.scrape(&health).await)
}

async fn answer(State((health, _)): State<(Health, Metrics)>) -> (StatusCode, &'static str) {
    match health.life() {
        Life::Serving => (StatusCode::OK, "serving\n"),
        Life::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Life::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

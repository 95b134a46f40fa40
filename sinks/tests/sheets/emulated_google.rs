//! The emulator that takes Google's place.

use std::net::SocketAddr;

use formline_sheets_emulator::{Emulator, Options, Quota};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The emulator that takes Google's place.
pub(crate) struct EmulatedGoogle {
    /// Its address with a slash at the end.
    pub(crate) base: String,
    address: SocketAddr,
    folder: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
    quota: Option<Quota>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl EmulatedGoogle {
    pub(crate) async fn new(quota: Option<Quota>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        Self {
            base: format!("http://{address}/"),
            address,
            server: serve(listener, &folder, quota, &stop),
            folder,
            quota,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop,
        }
    }

    /// Makes Google unavailable.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.server).await.unwrap();
    }

    /// Makes Google available again, with the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop = CancellationToken::new();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = serve(listener, &self.folder, self.quota, &self.stop);
    }
}

impl Drop for EmulatedGoogle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn serve(
    listener: TcpListener,
    folder: &tempfile::TempDir,
    quota: Option<Quota>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let options = Options {
        data: folder.path().into(),
        quota,
    };
    let emulator = Emulator::open(options).unwrap();
    let stop = stop.clone();
    tokio::spawn(async move { emulator.serve(listener, stop).await.unwrap() })
}

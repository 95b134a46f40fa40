//! The addresses that an app may call: no private networks, by whatever name.

use std::{io::ErrorKind, net::TcpListener};

use formline_core::{Secret, Shutdown};
use formline_sinks::Error;
use formline_testing::eventually;

use crate::pipeline::{DEADLINE, HOUR, Pipeline};

/// A server in a private network.
struct Intranet(TcpListener);

impl Intranet {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self, scheme: &str, host: &str) -> Secret {
        let port = self.0.local_addr().unwrap().port();
        Secret::new(format!("{scheme}://{host}:{port}/"))
    }

    fn was_called(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_is_rejected_at_the_start() {
    let mut pipeline = Pipeline::new(&[HOUR]).await;
    pipeline.networks = vec!["10.0.0.0/8"];
    let intranet = Intranet::new();
    // In every notation.
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        pipeline.settings.url = intranet.url("https", host);
        let sinks = vec![pipeline.placed(pipeline.kind())];
        let run = formline_sinks::run(pipeline.options(), sinks, Shutdown::new());
        let error = Box::pin(run).await.unwrap_err();
        assert!(matches!(error, Error::Webhook(_)), "{error}");
        assert!(error.to_string().contains("is not public"), "{error}");
    }
    assert!(!intranet.was_called());
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_network_is_not_called() {
    let mut pipeline = Pipeline::new(&[HOUR]).await;
    pipeline.networks.clear();
    let intranet = Intranet::new();
    pipeline.settings.url = intranet.url("https", "localhost");
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    running.expect_stopped("is not public").await;
    pipeline.expect_journal(&id, &["put-off"]).await;
    assert!(!intranet.was_called());
    running.stop().await;
    // A network that the installation allows is called.
    pipeline.networks.extend(["127.0.0.0/8", "::1/128"]);
    let running = pipeline.start();
    let id = pipeline.submit_one().await;
    eventually(DEADLINE, async || intranet.was_called()).await;
    drop(intranet);
    pipeline.expect_journal(&id, &["put-off"]).await;
    running.stop().await;
}

//! What an app may call: not what stands behind the firewall, by whatever name.

use std::{io::ErrorKind, net::TcpListener};

use formline_core::{Shutdown, settings::Secret};
use formline_sinks::Error;
use formline_testing::eventually;

use crate::line::{DEADLINE, HOUR, Line};

/// Behind the firewall: nobody may connect to it.
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
async fn an_address_that_is_not_public_is_refused_at_the_start() {
    let mut line = Line::new(&[HOUR]).await;
    line.networks = vec!["10.0.0.0/8"];
    let intranet = Intranet::new();
    // However it is written.
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        line.settings.url = intranet.url("https", host);
        let sinks = vec![line.placed(line.kind())];
        let run = formline_sinks::run(line.options(), sinks, Shutdown::new());
        let error = Box::pin(run).await.unwrap_err();
        assert!(matches!(error, Error::Webhook(_)), "{error}");
        assert!(error.to_string().contains("is not public"), "{error}");
    }
    assert!(!intranet.was_called());
}

#[tokio::test]
async fn a_name_that_leads_behind_the_firewall_is_not_called() {
    let mut line = Line::new(&[HOUR]).await;
    line.networks.clear();
    let intranet = Intranet::new();
    line.settings.url = intranet.url("https", "localhost");
    let running = line.start();
    let id = line.submit_one().await;
    running.expect_stopped("is not public").await;
    line.expect_journal(&id, &["put-off"]).await;
    assert!(!intranet.was_called());
    running.stop().await;
    // What the installation allows is called.
    line.networks.extend(["127.0.0.0/8", "::1/128"]);
    let running = line.start();
    let id = line.submit_one().await;
    eventually(DEADLINE, async || intranet.was_called()).await;
    drop(intranet);
    line.expect_journal(&id, &["put-off"]).await;
    running.stop().await;
}

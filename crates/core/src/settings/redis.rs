//! `[redis]`: one server, or several servers with Sentinels.

use crate::{
    config::{
        SectionReader,
        keys::formline_toml::{file, redis},
        parse_address,
    },
    secret::Secret,
};

/// Where Redis is, 7.0 or newer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Redis {
    /// One server: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS.
    Server(Secret),
    /// Several servers, of which Sentinels elect the master.
    Sentinels(Sentinels),
}

/// The Sentinels and the credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sentinels {
    /// Host and port of at least one Sentinel. All are asked, and the first answer counts.
    pub addresses: Vec<(String, u16)>,
    /// The name of the master.
    pub master: String,
    /// User of the servers, if they have access control lists.
    pub user: Option<String>,
    /// Password of the servers.
    pub password: Option<Secret>,
    /// Password of the Sentinels.
    pub sentinel_password: Option<Secret>,
    /// Whether servers and Sentinels are reached by TLS.
    pub tls: bool,
}

// === impl Redis ===

impl Redis {
    /// `None` if neither a server nor Sentinels are set.
    pub(super) fn read(root: &mut SectionReader<'_>) -> Option<Self> {
        let mut table = root.table_or_empty(&file::REDIS);
        let read = read_table(&mut table);
        table.finish();
        read
    }
}

fn read_table(table: &mut SectionReader<'_>) -> Option<Redis> {
    let url = table.filled_text(&redis::URL);
    let sentinels = table.filled_text(&redis::SENTINELS);
    let master = table.filled_text(&redis::MASTER);
    let user = table.filled_text(&redis::USER);
    let password = table.filled_text(&redis::PASSWORD).map(Secret::new);
    let sentinel_password = table.filled_text(&redis::SENTINEL_PASSWORD);
    let tls = table.flag(&redis::TLS);
    let Some(sentinels) = sentinels else {
        if url.is_none() && master.is_some() {
            let remedy = "set `sentinels`, or remove `master`";
            table.report(
                &redis::MASTER,
                "`master` is set without `sentinels`",
                remedy,
            );
        }
        return url.map(|url| Redis::Server(Secret::new(url)));
    };
    if url.is_some() {
        let remedy = "remove one of them: `sentinels` find the server that `url` would name";
        table.report(&redis::URL, "both `url` and `sentinels` are set", remedy);
    }
    let Some(master) = master else {
        let remedy = "write the name in `sentinel monitor NAME …`, often mymaster";
        table.report(&redis::MASTER, "`master` is missing", remedy);
        return None;
    };
    Some(Redis::Sentinels(Sentinels {
        addresses: sentinels.split(',').filter_map(parse_address).collect(),
        master,
        user,
        password,
        sentinel_password: sentinel_password.map(Secret::new),
        tls,
    }))
}

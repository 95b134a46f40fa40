//! Finds the master and connects to it. Asks the server itself whether it is a master, even if a
//! Sentinel has named it.

use std::time::Duration;

use formline_core::{Secret, settings};
use futures::{FutureExt as _, future::select_ok};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, RedisResult, Role, aio::MultiplexedConnection, cmd,
};
use tokio::time::timeout;

/// Where to look for the master.
#[derive(Debug)]
pub(super) enum RedisEndpoint {
    /// A single server, which should be a master.
    Server(Client),
    /// Sentinels, which name the master.
    Sentinels {
        sentinels: Vec<Client>,
        settings: settings::Sentinels,
    },
}

/// Host and port of a server, as Sentinels name it.
pub(super) type ServerAddress = (String, u16);

/// A connection to a server that has just reported to be a master.
pub(super) struct Master {
    pub(super) connection: MultiplexedConnection,
    /// `None` for a single server.
    pub(super) address: Option<ServerAddress>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// For one script. A large batch on a busy server takes long, and a script that was given up on may
/// still run.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole search: two connections and two questions.
const FIND_TIMEOUT: Duration = Duration::from_secs(4);

// === impl RedisEndpoint ===

impl RedisEndpoint {
    pub(super) fn new(settings: &settings::Redis) -> RedisResult<Self> {
        match settings {
            settings::Redis::Server(url) => Ok(Self::Server(Client::open(url.expose())?)),
            settings::Redis::Sentinels(settings) => {
                if settings.addresses.is_empty() {
                    return Err(other("no sentinel is configured".to_owned()));
                }
                let password = settings.sentinel_password.as_ref();
                let sentinels = settings.addresses.iter();
                let sentinels =
                    sentinels.map(|address| open(address, settings.tls, None, password));
                Ok(Self::Sentinels {
                    sentinels: sentinels.collect::<RedisResult<_>>()?,
                    settings: settings.clone(),
                })
            }
        }
    }

    /// Connects to the master. The first Sentinel that answers is enough.
    pub(super) async fn master(&self) -> RedisResult<Master> {
        let find = async {
            match self {
                Self::Server(server) => connect_to_master(server, None).await,
                Self::Sentinels {
                    sentinels,
                    settings,
                } => {
                    let asked = sentinels.iter();
                    let asked = asked.map(|sentinel| master_by(sentinel, settings).boxed());
                    Ok(select_ok(asked).await?.0)
                }
            }
        };
        timeout(FIND_TIMEOUT, find)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }
}

/// The master that one Sentinel names.
async fn master_by(sentinel: &Client, settings: &settings::Sentinels) -> RedisResult<Master> {
    let mut connection = connect(sentinel).await?;
    let mut ask = cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&settings.master);
    let named: Option<ServerAddress> = ask.query_async(&mut connection).await?;
    let Some(address) = named else {
        return Err(other(format!(
            "no sentinel knows a master `{}`",
            settings.master
        )));
    };
    let (user, password) = (settings.user.as_deref(), settings.password.as_ref());
    let server = open(&address, settings.tls, user, password)?;
    connect_to_master(&server, Some(address)).await
}

async fn connect_to_master(server: &Client, address: Option<ServerAddress>) -> RedisResult<Master> {
    let mut connection = connect(server).await?;
    match cmd("ROLE").query_async(&mut connection).await? {
        Role::Primary { .. } => Ok(Master {
            connection,
            address,
        }),
        Role::Replica { .. } => Err(other("the server is a replica".to_owned())),
        // A Sentinel.
        _ => Err(other(
            "the server is not a redis server; configure a sentinel in `sentinels`".to_owned(),
        )),
    }
}

async fn connect(server: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    server
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Does not connect yet.
fn open(
    (host, port): &ServerAddress,
    tls: bool,
    user: Option<&str>,
    password: Option<&Secret>,
) -> RedisResult<Client> {
    let (host, port) = (host.clone(), *port);
    let address = if tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password.expose());
    }
    Client::open(address.into_connection_info()?.set_redis_settings(login))
}

fn other(why: String) -> RedisError {
    std::io::Error::other(why).into()
}

//! Groups of flags that several commands have in common.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;

use crate::{admin::AdminAddress, time_arg::TimeArg};

/// The apps, the plug-ins and how to reach Kafka.
#[derive(Args, Debug)]
pub(crate) struct InstallationArgs {
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// The folders of the apps.
#[derive(Args, Debug)]
pub(crate) struct AppFolders {
    /// Folder of an app; repeatable [default: every folder in ./apps]
    #[arg(long = "app", value_name = "DIR")]
    pub(crate) apps: Vec<PathBuf>,
}

/// A selection of steps.
#[derive(Args, Debug, Default)]
pub(crate) struct StepNames {
    /// Only this step, as NAME or APP/NAME; repeatable
    #[arg(long = "step", value_name = "NAME")]
    pub(crate) steps: Vec<String>,
}

/// A selection of sinks.
#[derive(Args, Debug, Default)]
pub(crate) struct SinkNames {
    /// Only this sink, as NAME or APP/NAME; repeatable
    #[arg(long = "sink", value_name = "NAME")]
    pub(crate) sinks: Vec<String>,
}

/// The folder of the plug-ins.
#[derive(Args, Debug)]
pub(crate) struct PluginFolder {
    /// Folder of the plug-ins, each a file NAME.wasm [default: DATA/plugins]
    #[arg(long, value_name = "DIR", env = "FORMLINE_PLUGINS")]
    plugins: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataFolder,
}

/// The folder of all files that Formline writes.
#[derive(Args, Debug)]
pub(crate) struct DataFolder {
    /// Folder for all files that Formline writes
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./formline-data",
        env = "FORMLINE_DATA"
    )]
    pub(crate) data: PathBuf,
}

/// How to reach Kafka.
#[derive(Args, Debug)]
pub(crate) struct KafkaArgs {
    /// Bootstrap servers of Kafka; overrides FORMLINE_BOOTSTRAP and the settings [default:
    /// 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap: Option<String>,
    /// Settings file [default: ./formline.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

/// Where the admin listener of this process listens.
#[derive(Args, Debug)]
pub(crate) struct AdminArgs {
    /// Listen address of /livez, /readyz, /metrics and /plugins
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
}

/// The running processes to query.
#[derive(Args, Debug)]
pub(crate) struct AdminUrls {
    /// Admin address of a running process; repeatable
    #[arg(
        long = "url",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    pub(crate) urls: Vec<AdminAddress>,
}

/// Where the HTTP service listens.
#[derive(Args, Debug)]
pub(crate) struct HttpArgs {
    /// Listen address of the HTTP service
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
}

/// Where the sheets emulator is: `up` and `sheets-emulator` run it, the others connect to it.
#[derive(Args, Debug)]
pub(crate) struct SheetsArgs {
    /// Address of the sheets emulator [default: 127.0.0.1:8082 in `up` and `sheets-emulator`;
    /// otherwise none, which means Google]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) sheets: Option<SocketAddr>,
}

/// How results are printed.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The beginning of a period.
#[derive(Args, Debug, Default)]
pub(crate) struct SinceArgs {
    /// Only from this time on, such as 2026-11-21T08:00:00Z, or this long ago, such as 90s, 15m,
    /// 24h or 7d
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) since: Option<TimeArg>,
}

// === impl PluginFolder ===

impl PluginFolder {
    /// The folder of the plug-ins.
    pub(crate) fn path(&self) -> PathBuf {
        let named = self.plugins.clone();
        named.unwrap_or_else(|| self.data.data.join("plugins"))
    }
}

// === impl DataFolder ===

impl DataFolder {
    /// The folder of compiled plug-ins.
    pub(crate) fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }
}

// === impl SheetsArgs ===

impl SheetsArgs {
    /// The address at which a process that runs the emulator listens.
    pub(crate) fn listen_on(&self) -> SocketAddr {
        const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);
        self.sheets.unwrap_or(DEFAULT)
    }
}

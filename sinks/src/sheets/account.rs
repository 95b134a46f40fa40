//! The service account that Google knows us by, and its tokens.

use std::{path::Path, pin::Pin, time::Duration};

use google_sheets4::common::GetToken;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use yup_oauth2::{
    CustomHyperClientBuilder, ServiceAccountAuthenticator, authenticator::Authenticator,
};

use crate::Error;

/// A service account. Cheap to clone.
#[derive(Clone)]
pub(super) struct Account {
    tokens: Authenticator<HttpsConnector<HttpConnector>>,
    /// Its address, by which Google counts calls.
    pub(super) name: String,
}

/// What the crate wants of us.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Failure>> + Send + 'a>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Account ===

impl Account {
    /// Reads the key. Connects only when a token is first asked for.
    pub(super) async fn open(
        key_file: &Path,
        connector: HttpsConnector<HttpConnector>,
    ) -> Result<Self, Error> {
        let unusable = |source| Error::Key {
            path: key_file.to_owned(),
            source,
        };
        let key = yup_oauth2::read_service_account_key(key_file)
            .await
            .map_err(unusable)?;
        let name = key.client_email.clone();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let client = CustomHyperClientBuilder::from(client);
        let tokens = ServiceAccountAuthenticator::with_client(key, client);
        let tokens = tokens.with_timeout(TOKEN_TIMEOUT).build().await;
        let tokens = tokens.map_err(unusable)?;
        Ok(Self { tokens, name })
    }
}

impl GetToken for Account {
    fn get_token<'a>(&'a self, scopes: &'a [&str]) -> Answer<'a> {
        Box::pin(async move {
            let mut answer = self.tokens.token(scopes).await?;
            // The crate takes an error that is an object for an answer without a token, and would keep that for good.
            if answer.token().is_none() {
                answer = self.tokens.force_refreshed_token(scopes).await?;
            }
            match answer.token() {
                Some(token) => Ok(Some(token.to_owned())),
                None => Err("the answer holds none".into()),
            }
        })
    }
}

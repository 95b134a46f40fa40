//! The service account that Google identifies the sink by, and its access tokens.

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

use crate::error::Error;

/// A service account. Cheap to clone.
#[derive(Clone)]
pub(super) struct ServiceAccount {
    tokens: Authenticator<HttpsConnector<HttpConnector>>,
    /// Its e-mail address, by which Google counts calls.
    pub(super) name: String,
}

/// The result that google-sheets4 expects.
type TokenAnswer<'a> =
    Pin<Box<dyn Future<Output = Result<Option<String>, TokenError>> + Send + 'a>>;
type TokenError = Box<dyn std::error::Error + Send + Sync>;

const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

// === impl ServiceAccount ===

impl ServiceAccount {
    /// Reads the key. Connects only when a token is first requested.
    pub(super) async fn open(
        key_file: &Path,
        connector: HttpsConnector<HttpConnector>,
    ) -> Result<Self, Error> {
        let unusable_key = |source| Error::Key {
            path: key_file.to_owned(),
            source,
        };
        let key = yup_oauth2::read_service_account_key(key_file)
            .await
            .map_err(unusable_key)?;
        let name = key.client_email.clone();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let client = CustomHyperClientBuilder::from(client);
        let tokens = ServiceAccountAuthenticator::with_client(key, client);
        let tokens = tokens.with_timeout(TOKEN_TIMEOUT).build().await;
        let tokens = tokens.map_err(unusable_key)?;
        Ok(Self { tokens, name })
    }
}

impl GetToken for ServiceAccount {
    fn get_token<'a>(&'a self, scopes: &'a [&str]) -> TokenAnswer<'a> {
        Box::pin(async move {
            let mut response = self.tokens.token(scopes).await?;
            // google-sheets4 caches an error that is a JSON object as a response without a token.
            if response.token().is_none() {
                response = self.tokens.force_refreshed_token(scopes).await?;
            }
            match response.token() {
                Some(token) => Ok(Some(token.to_owned())),
                None => Err("the response has no token".into()),
            }
        })
    }
}

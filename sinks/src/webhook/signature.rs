//! Signatures that let a receiver verify the sender of a call: Standard Webhooks 1.0.0, symmetric
//! (`v1`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use formline_core::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A secret that the receiver knows.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

/// Length of a secret in bytes, as the specification requires.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

// === impl SigningKey ===

impl SigningKey {
    /// Reads a secret in the form of the specification.
    ///
    /// # Errors
    /// What is wrong with the secret, without repeating it.
    pub(crate) fn read(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.expose().strip_prefix("whsec_");
        let text = text.ok_or("a secret does not begin with whsec_")?;
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|_| "the text after whsec_ is not base64")?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err("a secret has less than 24 or more than 64 bytes");
        }
        let key = Hmac::new_from_slice(&bytes).expect("HMAC accepts keys of any length");
        Ok(Self(key))
    }

    /// The signature of a call, for the header `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut hmac = self.0.clone();
        hmac.update(format!("{id}.{seconds}.").as_bytes());
        hmac.update(body);
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_reproduced() {
        let key = SigningKey::read(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let key = key.unwrap_or_else(|wrong| panic!("{wrong}"));
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn invalid_secrets_are_rejected() {
        let with = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for legal in [with(24), with(64)] {
            assert!(SigningKey::read(&Secret::new(legal)).is_ok());
        }
        for (illegal, problem) in [
            (with(23), "less than 24"),
            (with(65), "more than 64"),
            ("whsec_ä".to_owned(), "not base64"),
            (with(32).replace("whsec_", ""), "does not begin"),
        ] {
            let wrong = SigningKey::read(&Secret::new(illegal)).err();
            assert!(
                wrong.is_some_and(|wrong| wrong.contains(problem)),
                "{problem}"
            );
        }
    }
}

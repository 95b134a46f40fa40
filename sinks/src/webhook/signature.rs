//! What lets the receiver of a call know that it comes from us: Standard Webhooks 1.0.0, symmetric (`v1`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use formline_core::settings::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A secret that the receiver knows, ready to sign with.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

/// Bytes of a secret, as the specification wants it.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

// === impl Key ===

impl Key {
    /// Reads a secret as the specification writes it. What is wrong does not repeat it.
    pub(crate) fn read(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.expose().strip_prefix("whsec_");
        let text = text.ok_or("a secret does not begin with whsec_")?;
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|_| "behind whsec_ stands no base64")?;
        if !LENGTH.contains(&bytes.len()) {
            return Err("a secret has less than 24 or more than 64 bytes");
        }
        let key = Hmac::new_from_slice(&bytes).expect("hmac takes keys of any length");
        Ok(Self(key))
    }

    /// The signature of a call, one of those that `webhook-signature` lists.
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
    fn the_example_of_the_specification_comes_out() {
        let key = Key::read(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let key = key.unwrap_or_else(|wrong| panic!("{wrong}"));
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn other_secrets_are_refused() {
        let with = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for legal in [with(24), with(64)] {
            assert!(Key::read(&Secret::new(legal)).is_ok());
        }
        for (illegal, problem) in [
            (with(23), "less than 24"),
            (with(65), "more than 64"),
            ("whsec_ä".to_owned(), "no base64"),
            (with(32).replace("whsec_", ""), "does not begin"),
        ] {
            let wrong = Key::read(&Secret::new(illegal)).err();
            assert!(
                wrong.is_some_and(|wrong| wrong.contains(problem)),
                "{problem}"
            );
        }
    }
}

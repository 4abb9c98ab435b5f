//! Which protocol versions and ciphers a TLS connection may use: the options `--ssl-protocols`,
//! `--ssl-ciphers` and `--ssl-ciphersuites`.
//!
//! What always holds: a list that leaves nothing, or that makes no sense, is complained of and changes
//! nothing, as with the peer; what is listed and not there (old protocols, weak ciphers) is not used.
//!
//! The lists are in OpenSSL's notation (ciphers(1)), of which the words that concern ciphers that we have
//! are known; with a list of protocols that does not speak of TLS 1.3 that stays on, as with the peer.

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, SupportedProtocolVersion};

/// See the module's page. The default is all that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// `None` for all.
    protocols: Option<Vec<Protocol>>,
    /// Of TLS 1.2, best first; `None` for all.
    ciphers: Option<Vec<CipherSuite>>,
    /// Of TLS 1.3, best first; `None` for all.
    ciphersuites: Option<Vec<CipherSuite>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tls12,
    Tls13,
}

/// The lists as they were given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// `--ssl-protocols`.
    pub protocols: Option<&'a str>,
    /// `--ssl-ciphers`.
    pub ciphers: Option<&'a str>,
    /// `--ssl-ciphersuites`.
    pub ciphersuites: Option<&'a str>,
}

/// Ciphers of TLS 1.2 with their names and what they are known by.
const CIPHERS: [(CipherSuite, &str, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["aECDSA", "ECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AES128", "AESGCM"],
    ),
];

/// What all of them are known by.
const EVERY: [&str; 8] =
    ["ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH"];

/// Those of TLS 1.3.
const CIPHERSUITES: [(CipherSuite, &str); 3] = [
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
];

impl TlsPolicy {
    /// Reads the lists; `complain` is told what is wrong with them.
    pub fn read(lists: Lists<'_>, mut complain: impl FnMut(String)) -> Self {
        let mut policy = Self::default();
        if let Some(list) = lists.protocols {
            match protocols(list, &mut complain) {
                Ok(protocols) => policy.protocols = Some(protocols),
                Err(text) => complain(text),
            }
        }
        if let Some(list) = lists.ciphers {
            match ciphers(list) {
                found if found.is_empty() => {
                    complain(format!("SSL_CTX_set_cipher_list: no cipher match in \"{list}\""));
                }
                found => policy.ciphers = Some(found),
            }
        }
        if let Some(list) = lists.ciphersuites {
            let named = |word: &str| CIPHERSUITES.iter().find(|(_, name)| *name == word);
            let words = list.split(':').map(str::trim).filter(|word| !word.is_empty());
            match words.map(|word| named(word).map(|(suite, _)| *suite)).collect() {
                None => {
                    complain(format!("SSL_CTX_set_ciphersuites: no cipher match in \"{list}\""))
                }
                found => policy.ciphersuites = found,
            }
        }
        policy
    }

    /// The versions to offer.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [Protocol::Tls12, Protocol::Tls13];
        let chosen = self.protocols.as_deref().unwrap_or(&all);
        let version = |protocol: &Protocol| match protocol {
            Protocol::Tls12 => &TLS12,
            Protocol::Tls13 => &TLS13,
        };
        chosen.iter().map(version).collect()
    }

    /// The cryptography, with the ciphers to offer.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        let all = std::mem::take(&mut provider.cipher_suites);
        let is_13 = |suite: CipherSuite| CIPHERSUITES.iter().any(|(of_13, _)| *of_13 == suite);
        for (chosen, of_13) in [(&self.ciphersuites, true), (&self.ciphers, false)] {
            let there = || all.iter().filter(|suite| is_13(suite.suite()) == of_13);
            match chosen {
                None => provider.cipher_suites.extend(there()),
                Some(chosen) => {
                    let found = |id: &CipherSuite| there().find(|suite| suite.suite() == *id);
                    provider.cipher_suites.extend(chosen.iter().filter_map(found));
                }
            }
        }
        provider
    }
}

/// Reads a list of protocols, `X+` or `X-Y`.
fn protocols(list: &str, complain: &mut impl FnMut(String)) -> Result<Vec<Protocol>, String> {
    let known = |word: &str| match word {
        "TLSv1" | "TLSv1.1" => Ok(None),
        "TLSv1.2" => Ok(Some(Protocol::Tls12)),
        "TLSv1.3" => Ok(Some(Protocol::Tls13)),
        _ => Err(format!("{word}: SSL protocol not recognized")),
    };
    let all = [Protocol::Tls12, Protocol::Tls13];
    let within = |least: Option<Protocol>, most: Option<Protocol>| -> Vec<Protocol> {
        let is_in = |p: &Protocol| Some(*p) >= least && Some(*p) <= most;
        all.into_iter().filter(is_in).collect()
    };
    let chosen = if let Some(least) = list.strip_suffix('+') {
        within(known(least)?, all.last().copied())
    } else if let Some((least, most)) = list.split_once('-') {
        within(known(least)?, known(most)?)
    } else {
        let words = list.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        let mut chosen = Vec::new();
        for word in words {
            match known(word)? {
                Some(protocol) => chosen.push(protocol),
                None => complain(format!("{word}: SSL protocol not supported")),
            }
        }
        // The peer's lists turn older ones on and off.
        chosen.push(Protocol::Tls13);
        chosen.sort();
        chosen.dedup();
        if list.trim().is_empty() { Vec::new() } else { chosen }
    };
    if chosen.is_empty() {
        return Err("SSL protocol settings invalid".to_owned());
    }
    Ok(chosen)
}

/// Reads a cipher list: words add ciphers, `-word` removes them, `!word` for good, `+word` moves them to
/// the end. Words of ciphers that we do not have add nothing.
fn ciphers(list: &str) -> Vec<CipherSuite> {
    let mut chosen: Vec<CipherSuite> = Vec::new();
    let mut barred: Vec<CipherSuite> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let (sign, word) = match word.as_bytes().first() {
            Some(sign @ (b'!' | b'-' | b'+')) => (Some(*sign), word.get(1..).unwrap_or_default()),
            _ => (None, word),
        };
        let meant: Vec<CipherSuite> = CIPHERS
            .iter()
            .filter(|(_, name, tags)| {
                // `A+B` is what is both.
                let is =
                    |part: &str| part == *name || EVERY.contains(&part) || tags.contains(&part);
                word.split('+').all(is)
            })
            .map(|(suite, ..)| *suite)
            .collect();
        let had: Vec<CipherSuite> =
            chosen.iter().copied().filter(|suite| meant.contains(suite)).collect();
        match sign {
            None => {
                let new = meant.iter().filter(|suite| !had.contains(suite));
                chosen.extend(new.filter(|suite| !barred.contains(suite)));
            }
            Some(sign) => {
                chosen.retain(|suite| !meant.contains(suite));
                match sign {
                    b'!' => barred.extend(meant),
                    b'+' => chosen.extend(had),
                    _ => {}
                }
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lists: Lists<'_>) -> (TlsPolicy, Vec<String>) {
        let mut said = Vec::new();
        let policy = TlsPolicy::read(lists, |text| said.push(text));
        (policy, said)
    }

    fn names(list: &str) -> Vec<&'static str> {
        let name = |suite| CIPHERS.iter().find(|(id, ..)| *id == suite).map(|(_, name, _)| *name);
        ciphers(list).into_iter().filter_map(name).collect()
    }

    /// `openssl ciphers LIST` (3.0) printed these orders, ciphers that rustls lacks left out.
    #[test]
    fn cipher_lists_as_openssl_reads_them() {
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(
            names("aRSA+AESGCM:ECDHE-RSA-CHACHA20-POLY1305"),
            [
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-CHACHA20-POLY1305"
            ]
        );
        assert_eq!(
            names("ALL:!ECDSA:-AES128:+AES256"),
            ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names("!AES:ALL:!aECDSA"), ["ECDHE-RSA-CHACHA20-POLY1305"]);
        assert!(names("AES256-SHA:RC4").is_empty());
    }

    #[test]
    fn what_leaves_nothing_changes_nothing() {
        let lists = Lists {
            protocols: Some("SSLv3"),
            ciphers: Some("RC4"),
            ciphersuites: Some("TLS_AES_128_CCM_SHA256"),
        };
        let (policy, said) = read(lists);
        assert_eq!(policy, TlsPolicy::default());
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[0], "SSLv3: SSL protocol not recognized");
        assert_eq!(policy.versions().len(), 2);
        let all = ring::default_provider().cipher_suites.len();
        assert_eq!(policy.provider().cipher_suites.len(), all);
        assert_eq!(all, CIPHERS.len() + CIPHERSUITES.len());
    }

    #[test]
    fn protocols_by_list_and_range() {
        let chosen = |list| read(Lists { protocols: Some(list), ..Lists::default() }).0.protocols;
        let (v12, v13) = (Protocol::Tls12, Protocol::Tls13);
        assert_eq!(chosen("TLSv1,TLSv1.1,TLSv1.2"), Some(vec![v12, v13]));
        assert_eq!(chosen("TLSv1.1"), Some(vec![v13]));
        assert_eq!(chosen("TLSv1.3"), Some(vec![v13]));
        assert_eq!(chosen("TLSv1.2+"), Some(vec![v12, v13]));
        assert_eq!(chosen("TLSv1-TLSv1.2"), Some(vec![v12]));
        for wrong in ["", " ", "TLSv1.3-TLSv1.2", "TLSv1-TLSv1.1", "TLSv2+"] {
            assert_eq!(chosen(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "[A-Za-z0-9+!:, @=.-]{0,40}") {
            let lists = Lists {
                protocols: Some(&list), ciphers: Some(&list), ciphersuites: Some(&list),
            };
            let policy = TlsPolicy::read(lists, |_| ());
            prop_assert!(!policy.versions().is_empty());
            prop_assert!(!policy.provider().cipher_suites.is_empty());
        }
    }
}

//! The cryptography of [`crate::SUITE`], on the one cryptographic library that everything here stands on, drawing no randomness.
//!
//! Randomness comes from the caller's seed (`provider`); here only HPKE needs some, an ephemeral key for each encryption. It is derived from
//! a secret of the call and from everything that is sealed, since an update path is sealed to many members on many threads at
//! once: what a seal draws must not depend on which comes first. HPKE is RFC 9180's base mode with one message, and no more of it.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, X25519};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use openmls::prelude::Ciphersuite;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{
    AeadType, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType,
    HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
};
use tls_codec::SecretVLBytes;

use crate::SUITE;

/// One call's cryptography.
pub(crate) struct Crypto {
    /// Fresh for each call, from the seed.
    secret: [u8; 32],
}

impl Crypto {
    pub(crate) fn new(secret: [u8; 32]) -> Crypto {
        Crypto { secret }
    }

    /// What an encryption's ephemeral key is derived from: a pseudorandom function of all that goes into it, so no two
    /// different encryptions share one.
    fn ephemeral_ikm(&self, parts: [&[u8]; 4]) -> SecretVLBytes {
        let mut input = Vec::new();
        for part in parts {
            input.extend_from_slice(&(part.len() as u64).to_be_bytes());
            input.extend_from_slice(part);
        }
        hmac(&self.secret, &input)
    }
}

fn hmac(key: &[u8], message: &[u8]) -> SecretVLBytes {
    sign(&Key::new(HMAC_SHA256, key), message).as_ref().into()
}

/// RFC 5869, 2.2.
fn extract(salt: &[u8], ikm: &[u8]) -> SecretVLBytes {
    hmac(salt, ikm)
}

/// RFC 5869, 2.3. A pseudorandom key is a hash's output here: longer ones do not occur.
fn expand(prk: &[u8], info: &[u8], length: usize) -> Result<SecretVLBytes, CryptoError> {
    if prk.len() > HASH_BYTES {
        return Err(CryptoError::InvalidLength);
    }
    let mut output = vec![0; length];
    Prk::new_less_safe(HKDF_SHA256, prk)
        .expand(&[info], Length(length))
        .and_then(|okm| okm.fill(&mut output))
        .map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
    Ok(output.into())
}

const HASH_BYTES: usize = 32;

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn cipher(key: &[u8], nonce: &[u8]) -> Result<(LessSafeKey, Nonce), CryptoError> {
    let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| CryptoError::InvalidLength)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::InvalidLength)?;
    Ok((LessSafeKey::new(key), nonce))
}

fn encrypt(key: &[u8], data: &[u8], nonce: &[u8], aad: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let (key, nonce) = cipher(key, nonce)?;
    let mut bytes = data.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut bytes)
        .map_err(|_| CryptoError::CryptoLibraryError)?;
    Ok(bytes)
}

fn decrypt(key: &[u8], data: &[u8], nonce: &[u8], aad: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let (key, nonce) = cipher(key, nonce)?;
    let mut bytes = data.to_vec();
    let length = key
        .open_in_place(nonce, Aad::from(aad), &mut bytes)
        .map_err(|_| CryptoError::AeadDecryptionError)?
        .len();
    bytes.truncate(length);
    Ok(bytes)
}

/// RFC 9180 with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM.
mod hpke {
    use super::*;

    /// RFC 9180, 7.1, the KEM's name.
    const KEM: &[u8] = b"KEM\x00\x20";
    /// RFC 9180, 5.1, the suite's.
    const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x01";
    const MODE_BASE: u8 = 0;

    /// RFC 9180, 4: `LabeledExtract`.
    fn labeled_extract(suite: &[u8], salt: &[u8], label: &str, ikm: &[u8]) -> SecretVLBytes {
        extract(salt, &[b"HPKE-v1", suite, label.as_bytes(), ikm].concat())
    }

    /// RFC 9180, 4: `LabeledExpand`.
    fn labeled_expand(
        suite: &[u8],
        prk: &SecretVLBytes,
        label: &str,
        info: &[u8],
        length: u16,
    ) -> Result<SecretVLBytes, CryptoError> {
        let info = [&length.to_be_bytes()[..], b"HPKE-v1", suite, label.as_bytes(), info].concat();
        expand(prk.as_slice(), &info, length.into())
    }

    fn private_key(bytes: &[u8]) -> Result<PrivateKey, CryptoError> {
        PrivateKey::from_private_key(&X25519, bytes).map_err(|_| CryptoError::InvalidLength)
    }

    fn public_of(key: &PrivateKey) -> Result<Vec<u8>, CryptoError> {
        let public = key.compute_public_key().map_err(|_| CryptoError::CryptoLibraryError)?;
        Ok(public.as_ref().to_vec())
    }

    /// RFC 9180, 7.1.3: `DeriveKeyPair`.
    pub(super) fn derive_key_pair(ikm: &[u8]) -> Result<(SecretVLBytes, Vec<u8>), CryptoError> {
        let prk = labeled_extract(KEM, &[], "dkp_prk", ikm);
        let private = labeled_expand(KEM, &prk, "sk", &[], 32)?;
        let public = public_of(&private_key(private.as_slice())?)?;
        Ok((private, public))
    }

    /// RFC 9180, 4.1: the shared secret of a Diffie-Hellman exchange. A point of small order would make it zero, and is refused
    /// (7.1.4).
    fn shared(own: &PrivateKey, other: &[u8], enc: &[u8], pk_r: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        let other = agreement::UnparsedPublicKey::new(&X25519, other);
        let prk = agreement::agree(own, other, CryptoError::InvalidPublicKey, |dh| {
            Ok(labeled_extract(KEM, &[], "eae_prk", dh))
        })?;
        labeled_expand(KEM, &prk, "shared_secret", &[enc, pk_r].concat(), 32)
    }

    /// RFC 9180, 5.1: `KeySchedule` in base mode; the key and the first nonce.
    fn schedule(shared: &SecretVLBytes, info: &[u8]) -> Result<(SecretVLBytes, SecretVLBytes), CryptoError> {
        let psk_id_hash = labeled_extract(SUITE, &[], "psk_id_hash", &[]);
        let info_hash = labeled_extract(SUITE, &[], "info_hash", info);
        let context = [&[MODE_BASE][..], psk_id_hash.as_slice(), info_hash.as_slice()].concat();
        let secret = labeled_extract(SUITE, shared.as_slice(), "secret", &[]);
        let key = labeled_expand(SUITE, &secret, "key", &context, 16)?;
        let nonce = labeled_expand(SUITE, &secret, "base_nonce", &context, 12)?;
        Ok((key, nonce))
    }

    /// RFC 9180, 6.1: `SealBase` of [receiver's key, info, aad, plaintext], with the ephemeral key that `ikm` makes.
    pub(super) fn seal(
        [pk_r, info, aad, plaintext]: [&[u8]; 4],
        ikm: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        let (private, enc) = derive_key_pair(ikm)?;
        let shared = shared(&private_key(private.as_slice())?, pk_r, &enc, pk_r)?;
        let (key, nonce) = schedule(&shared, info)?;
        let ciphertext = encrypt(key.as_slice(), plaintext, nonce.as_slice(), aad)?;
        Ok(HpkeCiphertext { kem_output: enc.into(), ciphertext: ciphertext.into() })
    }

    /// RFC 9180, 6.1: `OpenBase`.
    pub(super) fn open(
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let own = private_key(sk_r)?;
        let enc = input.kem_output.as_slice();
        let shared = shared(&own, enc, enc, &public_of(&own)?)?;
        let (key, nonce) = schedule(&shared, info)?;
        decrypt(key.as_slice(), input.ciphertext.as_slice(), nonce.as_slice(), aad)
    }
}

fn check_hpke(config: &HpkeConfig) -> Result<(), CryptoError> {
    match config {
        HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128) => Ok(()),
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

fn check_hash(hash: HashType) -> Result<(), CryptoError> {
    match hash {
        HashType::Sha2_256 => Ok(()),
        _ => Err(CryptoError::UnsupportedHashAlgorithm),
    }
}

fn check_aead(algorithm: AeadType) -> Result<(), CryptoError> {
    match algorithm {
        AeadType::Aes128Gcm => Ok(()),
        _ => Err(CryptoError::UnsupportedAeadAlgorithm),
    }
}

impl OpenMlsCrypto for Crypto {
    fn supports(&self, suite: Ciphersuite) -> Result<(), CryptoError> {
        if suite == SUITE { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        vec![SUITE]
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        check_hash(hash)?;
        Ok(extract(salt, ikm))
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        check_hash(hash)?;
        Ok(hmac(key, message))
    }

    fn hkdf_expand(
        &self,
        hash: HashType,
        prk: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        check_hash(hash)?;
        expand(prk, info, length)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check_hash(hash)?;
        Ok(digest(&SHA256, data).as_ref().to_vec())
    }

    fn aead_encrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check_aead(algorithm)?;
        encrypt(key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check_aead(algorithm)?;
        decrypt(key, data, nonce, aad)
    }

    /// A device's key is made by its owner.
    fn signature_key_gen(&self, _: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        match scheme {
            SignatureScheme::ED25519 => UnparsedPublicKey::new(&ED25519, key)
                .verify(data, signature)
                .map_err(|_| CryptoError::InvalidSignature),
            _ => Err(CryptoError::UnsupportedSignatureScheme),
        }
    }

    /// [`crate::DeviceKey`] signs; the library asks it.
    fn sign(&self, _: SignatureScheme, _: &[u8], _: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        check_hpke(&config)?;
        let parts = [pk_r, info, aad, plaintext];
        hpke::seal(parts, self.ephemeral_ikm(parts).as_slice())
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        check_hpke(&config)?;
        hpke::open(input, sk_r, info, aad).map_err(|_| CryptoError::HpkeDecryptionError)
    }

    /// Of commits by those who are no members, which we do not make.
    fn hpke_setup_sender_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        Err(CryptoError::SenderSetupError)
    }

    /// Of commits by those who are no members, which we do not take.
    fn hpke_setup_receiver_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        Err(CryptoError::ReceiverSetupError)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        check_hpke(&config)?;
        let (private, public) = hpke::derive_key_pair(ikm)?;
        Ok(HpkeKeyPair { private: private.as_slice().into(), public })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HpkeConfig {
        HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128)
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    }

    /// RFC 5869, appendix A.1 and A.3 (no salt, no info).
    #[test]
    fn c5_key_derivation_is_that_of_the_rfc() {
        let prk = extract(&unhex("000102030405060708090a0b0c"), &[0x0b; 22]);
        let okm = expand(prk.as_slice(), &unhex("f0f1f2f3f4f5f6f7f8f9"), 42).expect("expanded");
        assert_eq!(
            okm.as_slice(),
            unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        );
        let prk = extract(&[], &[0x0b; 22]);
        let okm = expand(prk.as_slice(), &[], 42).expect("expanded");
        assert_eq!(
            okm.as_slice(),
            unhex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
        );
        assert!(expand(prk.as_slice(), &[], 255 * 32 + 1).is_err());
        assert!(expand(&[0; 33], &[], 32).is_err());
    }

    /// RFC 9180, appendix A.1.1.
    #[test]
    fn c5_a_seal_is_that_of_the_rfc() {
        let ikm_e = unhex("7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234");
        let ikm_r = unhex("6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037");
        let (private, public) = hpke::derive_key_pair(&ikm_r).expect("a key pair");
        assert_eq!(
            private.as_slice(),
            unhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
        );
        assert_eq!(public, unhex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"));
        let (info, aad) = (unhex("4f6465206f6e2061204772656369616e2055726e"), unhex("436f756e742d30"));
        let plaintext = unhex("4265617574792069732074727574682c20747275746820626561757479");
        let sealed = hpke::seal([&public, &info, &aad, &plaintext], &ikm_e).expect("sealed");
        assert_eq!(
            sealed.kem_output.as_slice(),
            unhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
        );
        assert_eq!(
            sealed.ciphertext.as_slice(),
            unhex(
                "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
            )
        );
        assert_eq!(hpke::open(&sealed, private.as_slice(), &info, &aad).expect("opened"), plaintext);
    }

    #[test]
    fn c5_what_is_sealed_opens_and_each_seal_has_a_key_of_its_own() {
        let crypto = Crypto::new([1; 32]);
        let receiver = crypto.derive_hpke_keypair(config(), &[7; 32]).expect("a key pair");
        let seal = |crypto: &Crypto, info: &[u8], aad: &[u8], text: &[u8]| {
            let sealed = crypto.hpke_seal(config(), &receiver.public, info, aad, text).expect("sealed");
            let open =
                |info: &[u8], aad: &[u8]| crypto.hpke_open(config(), &sealed, &receiver.private, info, aad);
            assert_eq!(open(info, aad), Ok(text.to_vec()));
            assert_eq!(open(b"another", aad), Err(CryptoError::HpkeDecryptionError));
            assert_eq!(open(info, b"another"), Err(CryptoError::HpkeDecryptionError));
            sealed.kem_output.as_slice().to_vec()
        };
        let first = seal(&crypto, b"i", b"a", b"text");
        assert_eq!(first, seal(&crypto, b"i", b"a", b"text"), "the same again");
        let others = [
            seal(&crypto, b"ia", b"", b"text"),
            seal(&crypto, b"i", b"at", b"ext"),
            seal(&crypto, b"i", b"a", b"texu"),
            seal(&Crypto::new([2; 32]), b"i", b"a", b"text"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn c5_a_key_of_small_order_or_another_length_is_refused() {
        let crypto = Crypto::new([1; 32]);
        for key in [vec![0; 32], vec![1; 31], Vec::new()] {
            assert!(crypto.hpke_seal(config(), &key, b"", b"", b"text").is_err(), "{key:?}");
            let input = HpkeCiphertext { kem_output: key.into(), ciphertext: vec![0; 40].into() };
            assert!(crypto.hpke_open(config(), &input, &[3; 32], b"", b"").is_err());
        }
    }

    #[test]
    fn c5_other_algorithms_are_refused() {
        let crypto = Crypto::new([1; 32]);
        assert!(crypto.hash(HashType::Sha2_512, b"").is_err());
        assert!(crypto.hmac(HashType::Sha2_384, b"", b"").is_err());
        assert!(crypto.aead_encrypt(AeadType::Aes256Gcm, &[0; 32], b"", &[0; 12], b"").is_err());
        assert!(crypto.supports(Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519).is_err());
        assert!(crypto.verify_signature(SignatureScheme::ECDSA_SECP256R1_SHA256, b"", b"", b"").is_err());
    }
}

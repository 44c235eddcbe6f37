//! The working group's test vectors (`tests/vectors/README.md`) on our cryptography and storage.
//!
//! They use more than we do: proposals by reference and pre-shared keys, which our storage keeps nowhere. Those that do run on the
//! library's storage in memory, and on our cryptography all the same.

use std::collections::BTreeMap;

use ciborium::Value;
use openmls::prelude::{
    Ciphersuite, JoinBuilder, KeyPackageBundle, KeyPackageIn, KeyPackageRef,
    MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn,
    ProcessedMessageContent, ProcessedWelcome, RatchetTreeIn, Welcome,
};
use openmls::schedule::PreSharedKeyId;
use openmls_memory_storage::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tls_codec::{Deserialize, Serialize};

use crate::SUITE;
use crate::crypto::Crypto;
use crate::engine::join_config;
use crate::kv::Overlay;
use crate::provider::{Provider, Random};

type Json = serde_json::Value;

fn read(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("a list")
}

fn hex(value: &Json) -> Vec<u8> {
    let text = value.as_str().expect("text");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn list<'a>(vector: &'a Json, field: &str) -> &'a [Json] {
    vector[field].as_array().expect("a list")
}

/// Our cryptography over the library's storage.
struct OnMemory<'a> {
    crypto: Crypto,
    random: Random<'a>,
    storage: MemoryStorage,
}

impl<'a> OpenMlsProvider for OnMemory<'a> {
    type CryptoProvider = Crypto;
    type RandProvider = Random<'a>;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Random<'a> {
        &self.random
    }
}

/// Puts a vector's key package where the library looks for its own; there is no other way in for private halves than the stored form.
fn keep<P: OpenMlsProvider>(provider: &P, vector: &Json) {
    let message = MlsMessageIn::tls_deserialize_exact(hex(&vector["key_package"])).expect("a message");
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else { panic!("a key package") };
    let key = |field: &str| Private { vec: hex(&vector[field]) };
    let form = BundleForm {
        key_package: package,
        private_init_key: key("init_priv"),
        private_encryption_key: PrivateKey { key: key("encryption_priv") },
    };
    let value = Value::serialized(&form).expect("a form");
    let bundle: KeyPackageBundle = value.deserialized().expect("the library's form");
    let reference: KeyPackageRef = bundle.key_package().hash_ref(provider.crypto()).expect("a reference");
    provider.storage().write_key_package(&reference, &bundle).expect("kept");
}

#[derive(serde::Serialize)]
struct BundleForm {
    key_package: KeyPackageIn,
    private_init_key: Private,
    private_encryption_key: PrivateKey,
}

#[derive(serde::Serialize)]
struct PrivateKey {
    key: Private,
}

#[derive(serde::Serialize)]
struct Private {
    vec: Vec<u8>,
}

/// Follows a vector's group as its passive member, to the last epoch.
fn follow<P: OpenMlsProvider>(provider: &P, vector: &Json) -> usize {
    for psk in list(vector, "external_psks") {
        PreSharedKeyId::external(hex(&psk["psk_id"]), Vec::new())
            .store(provider, &hex(&psk["psk"]))
            .expect("kept");
    }
    keep(provider, vector);
    let welcome = MlsMessageIn::tls_deserialize_exact(hex(&vector["welcome"])).expect("a message");
    let MlsMessageBodyIn::Welcome(welcome) = welcome.extract() else { panic!("a welcome") };
    let mut group = join(provider, welcome, &vector["ratchet_tree"]);
    let authenticator = |group: &MlsGroup| group.epoch_authenticator().as_slice().to_vec();
    assert_eq!(authenticator(&group), hex(&vector["initial_epoch_authenticator"]));
    for (at, epoch) in list(vector, "epochs").iter().enumerate() {
        for message in list(epoch, "proposals").iter().chain([&epoch["commit"]]) {
            process(provider, &mut group, &hex(message));
        }
        assert_eq!(authenticator(&group), hex(&epoch["epoch_authenticator"]), "epoch {at}");
    }
    list(vector, "epochs").len()
}

fn join<P: OpenMlsProvider>(provider: &P, welcome: Welcome, tree: &Json) -> MlsGroup {
    let config = MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .number_of_resumption_psks(16)
        .build();
    let processed = ProcessedWelcome::new_from_welcome(provider, &config, welcome).expect("it opens");
    let mut builder = JoinBuilder::new(provider, processed).skip_lifetime_validation();
    if !tree.is_null() {
        let tree = RatchetTreeIn::tls_deserialize_exact(hex(tree)).expect("a tree");
        builder = builder.with_ratchet_tree(tree);
    }
    builder.build().expect("it fits").into_group(provider).expect("joined")
}

fn process<P: OpenMlsProvider>(provider: &P, group: &mut MlsGroup, bytes: &[u8]) {
    let message = MlsMessageIn::tls_deserialize_exact(bytes).expect("a message");
    let message = message.try_into_protocol_message().expect("a message of the group");
    match group.process_message(provider, message).expect("it is right").into_content() {
        ProcessedMessageContent::ProposalMessage(proposal) => {
            group.store_pending_proposal(provider.storage(), *proposal).expect("kept");
        }
        ProcessedMessageContent::StagedCommitMessage(staged) => {
            group.merge_staged_commit(provider, *staged).expect("merged");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn c5_vectors_of_passive_clients_are_followed() {
    let mut epochs = 0;
    for file in
        ["passive-client-welcome.json", "passive-client-handling-commit.json", "passive-client-random.json"]
    {
        for vector in read(file) {
            let mut generator = ChaCha20Rng::from_seed([1; 32]);
            let provider = OnMemory {
                crypto: Crypto::new([1; 32]),
                random: Random::new(&mut generator),
                storage: MemoryStorage::default(),
            };
            epochs += follow(&provider, &vector);
        }
    }
    assert_eq!(epochs, 26 + 24);
}

#[test]
fn c5_vectors_of_welcomes_are_joined_on_our_storage() {
    let stored = BTreeMap::new();
    let mut joined = 0;
    for vector in read("passive-client-welcome.json") {
        if !list(&vector, "external_psks").is_empty() {
            continue;
        }
        let (mut generator, before) = (ChaCha20Rng::from_seed([2; 32]), Overlay::new());
        let provider = Provider::new(&mut generator, &stored, &before);
        follow(&provider, &vector);
        joined += 1;
    }
    assert_eq!(joined, 4);
}

/// `welcome.json`: it names its key package, whose private half opens the secrets, and those the group info. The vector has no tree, without
/// which the library goes no further.
#[test]
fn c5_the_vector_of_a_welcome_opens() {
    let mut vector = read("welcome.json").remove(0);
    assert_eq!(vector["cipher_suite"], wire_mls::SUITE);
    assert_eq!(Ciphersuite::try_from(wire_mls::SUITE), Ok(SUITE));
    let bytes = hex(&vector["welcome"]);
    let reference = wire_mls::inspect::welcome(&bytes).expect("read");
    assert_eq!(reference, wire_mls::inspect::reference(&hex(&vector["key_package"])[4..]));
    vector["encryption_priv"] = Json::String("00".repeat(32));
    let (mut generator, before, stored) = (ChaCha20Rng::from_seed([2; 32]), Overlay::new(), BTreeMap::new());
    let provider = Provider::new(&mut generator, &stored, &before);
    keep(&provider, &vector);
    let message = MlsMessageIn::tls_deserialize_exact(bytes).expect("a message");
    let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { panic!("a welcome") };
    let opened = ProcessedWelcome::new_from_welcome(&provider, &join_config(), welcome).expect("it opens");
    assert_eq!(opened.unverified_group_info().ciphersuite(), SUITE);
}

/// What the library reads it writes again, byte for byte.
#[test]
fn c5_vectors_of_messages_have_one_form() {
    let fields = [
        "mls_welcome",
        "mls_group_info",
        "mls_key_package",
        "public_message_application",
        "public_message_proposal",
        "public_message_commit",
        "private_message",
    ];
    for vector in read("messages.json") {
        for field in fields {
            let bytes = hex(&vector[field]);
            let message =
                MlsMessageIn::tls_deserialize_exact(&bytes).unwrap_or_else(|e| panic!("{field}: {e}"));
            assert_eq!(message.tls_serialize_detached().expect("written"), bytes, "{field}");
        }
        let tree = hex(&vector["ratchet_tree"]);
        let read = RatchetTreeIn::tls_deserialize_exact(&tree).expect("a tree");
        assert_eq!(read.tls_serialize_detached().expect("written"), tree);
    }
}

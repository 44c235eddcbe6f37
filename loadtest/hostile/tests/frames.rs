//! Wrong frames in right connections: each costs its stream, or its connection, and has a code (R115, R152).

mod common;

use common::support::{alice_and_bob, generous};
use common::*;
use loadtest_hostile::{Dose, FrameKind, Frames, frames};
use wire::CloseCode;

#[test]
fn r115_r152_wrong_frames_of_every_kind_cost_whoever_says_them_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(edge_node::Config { loops: 2, ..generous(dir.path()) });
    let (target, mallory) = (target(&node, &[[127, 0, 0, 3]]), mallory(&node));
    let trudy = node.register("+4915100000008", "Trudy", 67);
    let number = number(10_000);
    let options = Frames {
        dose: Dose::new(number, 4_000),
        seed: 5,
        identity: Some(identity(&mallory)),
        chat: store::keys::direct_chat_id(mallory.account(), trudy.account()),
        peer: trudy.account(),
    };
    let (report, honest) = while_people_chat(&node, &people, chat, || frames(&target, &options));
    let report = report.unwrap();
    eprintln!(
        "{report:#?}\n{} messages, {} newcomers, {} MB",
        honest.messages,
        honest.newcomers,
        honest.grew_bytes() / 1e6
    );
    let sent = report.sent.total();
    assert!(sent >= number, "{report:#?}");
    assert!(FrameKind::ALL.iter().all(|kind| report.sent.of(kind) > 0), "{report:#?}");
    assert!(report.before_hello > 0 && report.before_hello < sent / 2, "{report:#?}");
    assert!(report.accepted > 1 && report.answers > 0, "much of it was heard: {report:#?}");
    // What was wrong was told, by code: streams and connections are ended for what was on them.
    let ended = |code: CloseCode| report.streams_ended.of(&u64::from(code.number()));
    assert!(ended(CloseCode::Malformed) > 0 && ended(CloseCode::Unexpected) > 0, "{report:#?}");
    assert!(report.ends.by_node.of(&u64::from(CloseCode::TooLarge.number())) > 0, "{report:#?}");
    assert!(report.refusals.total() > 0, "{report:#?}");
    assert_eq!(report.unreadable, 0, "{report:#?}");
    assert_eq!((report.ends.timed_out, report.ends.reset, report.ends.by_transport.total()), (0, 0, 0));
    assert!(honest.grew("godwit_malformed_frames_total") > 0.0);
    assert!(honest.grew("godwit_oversized_total") > 0.0);
    assert!(honest.grew("godwit_frames_received_total") > sent as f64 / 10.0);
}

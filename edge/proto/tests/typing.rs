//! Typing (R34, R35): told to devices that have the chat open, stored nowhere, dropped first.

mod harness;

use std::time::Duration;

use harness::*;
use wire::AccountId;
use wire::event::Event;
use wire::request::Request;

fn typed(world: &World, live: Live) -> Vec<(AccountId, bool)> {
    let all = world.heard.iter().filter(|((link, _), _)| *link == live.link);
    all.flat_map(|(_, events)| events)
        .filter_map(
            |e| if let Event::Typing { member, typing } = e { Some((*member, *typing)) } else { None },
        )
        .collect()
}

#[test]
fn r34_r35_r106_typing_is_told_to_who_has_the_chat_open() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b, elsewhere) =
        (world.hello(&alice), world.hello(&bob), world.register("+4915100000003", "Cem", 3));
    let c = world.hello(&elsewhere);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "the chat exists"));
    world.say(a.link, up, &Request::Typing { typing: true });
    assert_eq!(typed(&world, b), [], "Bob looks at something else");
    world.chat_up(b, chat, None);
    world.pass(Duration::from_secs(3));
    world.say(a.link, up, &Request::Typing { typing: true });
    world.pass(Duration::from_secs(3));
    world.say(a.link, up, &Request::Typing { typing: false });
    assert_eq!(typed(&world, b), [(alice.account(), true), (alice.account(), false)]);
    assert_eq!((typed(&world, a), typed(&world, c)), (vec![], vec![]), "not to oneself, not to strangers");
    let tablet = world.register("+4915100000001", "Alice's tablet", 7);
    let t = world.hello(&tablet);
    world.chat_up(t, chat, None);
    world.pass(Duration::from_secs(3));
    world.say(a.link, up, &Request::Typing { typing: true });
    assert_eq!(typed(&world, t), [], "nor to oneself on another device");
    let again = world.hello(&bob);
    world.chat_up(again, chat, None);
    assert_eq!(typed(&world, again), [], "nothing of it is kept");
}

#[test]
fn r34_i5_somebody_who_is_no_member_tells_nobody() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let stranger = world.register("+4915100000003", "Mallory", 3);
    let (a, b, m) = (world.hello(&alice), world.hello(&bob), world.hello(&stranger));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "ours"));
    world.chat_up(b, chat, None);
    let theirs = world.chat_up(m, chat, None);
    world.say(m.link, theirs, &Request::Typing { typing: true });
    world.say(a.link, up, &Request::Typing { typing: true });
    assert_eq!(typed(&world, b), [(alice.account(), true)]);
    assert_eq!(typed(&world, m), [], "and hears nothing, though it says that it has the chat open");
}

#[test]
fn r34_a_flood_of_typing_and_a_reader_who_stalls_cost_nothing() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "hello"));
    world.chat_up(b, chat, None);
    for n in 0..1000 {
        world.say(a.link, up, &Request::Typing { typing: n % 2 == 0 });
    }
    assert_eq!(typed(&world, b).len(), 1, "at most one each half second");
    for _ in 0..100 {
        let another = world.chat_up(a, chat, None);
        world.say(a.link, another, &Request::Typing { typing: true });
    }
    assert_eq!(typed(&world, b).len(), 1, "on however many streams");
    let down = world.down_stream(b.link, chat).expect("a stream for the chat");
    world.stalled.insert((b.link, down));
    world.say(a.link, up, &append(2, "fills the stream"));
    for _ in 0..10 {
        world.pass(Duration::from_secs(1));
        world.say(a.link, up, &Request::Typing { typing: true });
    }
    world.stalled.clear();
    world.input(edge_proto::Input::Drained { link: b.link, stream: down });
    assert_eq!(typed(&world, b).len(), 1, "what the stream does not take at once is dropped");
    assert_eq!(world.entries(b.link, chat).len(), 2, "messages are not");
}

//! Registration, tokens, devices: every step and every refusal of R13–R24 and G6.

mod harness;

use std::time::Duration;

use harness::*;
use wire::event::Event;
use wire::request::Request;
use wire::{CloseCode, ErrorCode, RegistrationId, Retry, Secret};

const ALICE: &str = "+4915100000001";

fn registration(world: &mut World, seed: u8) -> (edge_proto::LinkId, RegistrationId) {
    let link = world.anonymous();
    match world.ask(link, &register(ALICE, "Alice", seed))[..] {
        [Event::Registered { registration, expires_in }] => {
            assert_eq!(expires_in, Duration::from_secs(300));
            (link, registration)
        }
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn r13_malformed_numbers_and_names_are_refused() {
    let mut world = World::new();
    let link = world.anonymous();
    for (phone, name, code) in [
        ("015112345678", "Alice", ErrorCode::PhoneInvalid),
        ("+0151", "Alice", ErrorCode::PhoneInvalid),
        (ALICE, "", ErrorCode::NameInvalid),
        (ALICE, "a\u{202e}b", ErrorCode::NameInvalid),
    ] {
        assert_eq!(world.refused(link, &register(phone, name, 1)), code, "{phone} {name:?}");
    }
    assert_eq!(world.refused(link, &register(ALICE, &"x".repeat(256), 1)), ErrorCode::NameInvalid);
    assert!(world.texts.is_empty());
}

#[test]
fn r15_r16_r17_a_code_is_six_digits_by_text_message() {
    let mut world = World::new();
    registration(&mut world, 1);
    let (to, text) = world.texts.pop().unwrap();
    assert_eq!(to, ALICE);
    let digits = text.strip_prefix("Your Godwit verification code is: ").unwrap();
    assert!(digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
}

#[test]
fn r16_a_repeated_request_sends_no_second_message_and_a_new_one_replaces_the_code() {
    let mut world = World::new();
    let (_, first) = registration(&mut world, 1);
    let (_, again) = registration(&mut world, 1);
    assert_eq!((first, world.texts.len()), (again, 1));
    let old = world.code();
    let (link, _) = registration(&mut world, 2);
    assert_eq!(world.texts.len(), 2);
    assert_eq!(world.refused(link, &verify(link, first, &old, 1)), ErrorCode::RegistrationUnknown);
}

#[test]
fn r18_wrong_expired_exhausted_and_unknown_are_distinct() {
    let mut world = World::new();
    let (link, registration) = registration(&mut world, 1);
    let right = world.code();
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let unknown = RegistrationId::new([9; 16]);
    assert_eq!(world.refused(link, &verify(link, unknown, &right, 1)), ErrorCode::RegistrationUnknown);
    for malformed in ["", "12345", "1234567", "12345x"] {
        assert_eq!(world.refused(link, &verify(link, registration, malformed, 1)), ErrorCode::OtpWrong);
    }
    for _ in 0..3 {
        assert_eq!(world.refused(link, &verify(link, registration, wrong, 1)), ErrorCode::OtpWrong);
    }
    assert_eq!(world.refused(link, &verify(link, registration, &right, 1)), ErrorCode::OtpExhausted);
}

#[test]
fn r18_r124_a_code_expires_after_five_minutes() {
    let mut world = World::new();
    let (link, registration) = registration(&mut world, 1);
    let code = world.code();
    world.pass(Duration::from_secs(301));
    assert_eq!(world.refused(link, &verify(link, registration, &code, 1)), ErrorCode::OtpExpired);
}

#[test]
fn r19_c4_a_known_number_gets_the_same_answers_and_its_devices_are_told() {
    let mut world = World::new();
    let first = world.register(ALICE, "Alice", 1);
    let live = world.hello(&first);
    let second = world.register(ALICE, "Mallory", 2);
    assert_eq!(second.account(), first.account());
    assert_eq!(second.verified.name, "Alice");
    assert_ne!(second.verified.device, first.verified.device);
    let told = world.heard_on(live.link, live.session);
    assert!(
        told.iter()
            .any(|e| matches!(e, Event::DeviceAdded { device, .. } if *device == second.verified.device))
    );
}

#[test]
fn idea_4_verify_may_be_repeated_by_its_device_and_by_no_other() {
    let mut world = World::new();
    let (link, registration) = registration(&mut world, 1);
    let code = world.code();
    let account = |answer: &[Event]| match answer {
        [Event::Verified(v)] => v.account,
        other => panic!("{other:?}"),
    };
    let first = account(&world.ask(link, &verify(link, registration, &code, 1)));
    assert_eq!(account(&world.ask(link, &verify(link, registration, &code, 1))), first);
    assert_eq!(world.refused(link, &verify(link, registration, &code, 2)), ErrorCode::OtpExhausted);
}

#[test]
fn c2_r123_three_codes_an_hour_per_number_and_install() {
    let mut world = World::new();
    let link = world.anonymous();
    let ask = |world: &mut World, phone: &str, request: u8, install: u8| {
        let Request::Register(mut register) = register(phone, "Alice", request) else { unreachable!() };
        register.install = wire::InstallId::new([install; 16]);
        world.ask(link, &Request::Register(register))
    };
    for n in 0..3 {
        assert!(matches!(ask(&mut world, ALICE, n, n)[..], [Event::Registered { .. }]));
    }
    let refused = ask(&mut world, ALICE, 4, 4);
    let [Event::Refused(refusal)] = refused[..] else { panic!("{refused:?}") };
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    assert!(
        matches!(refusal.retry, Retry::After(d) if d > Duration::from_secs(60) && d <= Duration::from_secs(1200))
    );
    for n in 10..13 {
        ask(&mut world, &format!("+49151000001{n}"), n, 77);
    }
    assert!(
        matches!(ask(&mut world, "+4915100000199", 13, 77)[..], [Event::Refused(r)] if r.code == ErrorCode::RateLimited)
    );
    assert_eq!(world.texts.len(), 6);
}

#[test]
fn r122_unauthenticated_requests_of_one_address_are_limited() {
    let mut world = World::new();
    let link = world.anonymous();
    let lookup = register("nonsense", "x", 1);
    let limited = (0..1100).filter(|_| world.refused(link, &lookup) == ErrorCode::RateLimited).count();
    assert_eq!(limited, 1100 - 999);
}

#[test]
fn r156_anonymous_sessions_may_ask_for_nothing_else() {
    let mut world = World::new();
    let link = world.anonymous();
    let mut denied = 0;
    for (name, request) in wire::testing::every_request(wire::ChatId::new([1; 16])) {
        match request {
            Request::Register(_) | Request::VerifyOtp(_) | Request::Refresh(_) => {}
            Request::Hello(_)
            | Request::Ping { .. }
            | Request::Append(_)
            | Request::MoveCursor { .. }
            | Request::Typing { .. }
            | Request::Part { .. } => {
                let stream = world.open(link);
                world.say(link, stream, &request);
                assert!(world.reset.contains(&(link, stream)), "{name}");
                assert!(world.heard_on(link, stream).is_empty(), "{name}");
            }
            // Anything that is added later, too.
            _ => {
                assert_eq!(world.refused(link, &request), ErrorCode::Unauthenticated, "{name}");
                denied += 1;
            }
        }
    }
    assert!(denied >= 8, "{denied} were denied");
}

#[test]
fn c1_refresh_rotates_repeats_and_revokes_on_reuse() {
    let mut world = World::new();
    let device = world.register(ALICE, "Alice", 1);
    let link = world.anonymous();
    let first = device.tokens().refresh.clone();
    let next = |world: &mut World, token: &Secret<[u8; 48]>, request: u8| match &world
        .ask(link, &refresh(link, &device, token, request))[..]
    {
        [Event::Refreshed(tokens)] => Ok(tokens.refresh.clone()),
        [Event::Refused(refusal)] => Err(refusal.code),
        other => panic!("{other:?}"),
    };
    let second = next(&mut world, &first, 1).unwrap();
    assert_eq!(next(&mut world, &first, 1), Ok(second.clone()), "a repeat gets the same successor");
    let third = next(&mut world, &second, 2).unwrap();
    assert_eq!(next(&mut world, &first, 3), Err(ErrorCode::RefreshReused));
    assert_eq!(next(&mut world, &third, 4), Err(ErrorCode::TokenRevoked), "the whole family is revoked");
}

#[test]
fn c1_reuse_ends_the_device_s_sessions_and_lets_no_access_token_in() {
    let mut world = World::new();
    let device = world.register(ALICE, "Alice", 1);
    let live = world.hello(&device);
    let link = world.anonymous();
    let first = device.tokens().refresh.clone();
    let refreshed = world.ask(link, &refresh(link, &device, &first, 1));
    let [Event::Refreshed(second)] = &refreshed[..] else { panic!("{refreshed:?}") };
    let refreshed = world.ask(link, &refresh(link, &device, &second.refresh, 2));
    let [Event::Refreshed(third)] = &refreshed[..] else { panic!("{refreshed:?}") };
    assert!(!world.closed.contains(&live.link));
    assert_eq!(world.refused(link, &refresh(link, &device, &first, 3)), ErrorCode::RefreshReused);
    let told = world.heard_on(live.link, live.session);
    assert!(matches!(told.last(), Some(Event::Goodbye(r)) if r.code == ErrorCode::TokenRevoked), "{told:?}");
    assert!(world.closed.contains(&live.link));
    for access in [device.tokens().access.expose(), third.access.expose()] {
        let live = world.hello_with(&device, access, wire::WallTime(0));
        assert_eq!(refusal_of_hello(&world, live), ErrorCode::TokenRevoked, "an access token that lives on");
    }
    // The same person on the same device, after a new registration.
    let again = world.register(ALICE, "Alice", 1);
    let live = world.hello(&again);
    assert!(matches!(world.heard_on(live.link, live.session)[0], Event::Connected(_)));
}

#[test]
fn c1_refresh_needs_the_device_key() {
    let mut world = World::new();
    let (alice, bob) = (world.register(ALICE, "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let link = world.anonymous();
    let stolen = alice.tokens().refresh.clone();
    assert_eq!(world.refused(link, &refresh(link, &bob, &stolen, 1)), ErrorCode::TokenInvalid);
    let Request::Refresh(mut forged) = refresh(link, &alice, &stolen, 1) else { unreachable!() };
    forged.proof[0] ^= 1;
    assert_eq!(world.refused(link, &Request::Refresh(forged)), ErrorCode::ProofInvalid);
}

fn refusal_of_hello(world: &World, live: Live) -> ErrorCode {
    match world.heard_on(live.link, live.session) {
        [Event::Refused(refusal)] => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r24_forged_and_borrowed_tokens_are_refused_and_the_connection_closed() {
    let mut world = World::new();
    let (alice, bob) = (world.register(ALICE, "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let good = alice.tokens().access.expose().clone();
    let mut forged = good.clone();
    forged.truncate(good.len() - 2);
    let live = world.hello_with(&alice, &forged, wire::WallTime(0));
    assert_eq!(refusal_of_hello(&world, live), ErrorCode::TokenInvalid);
    assert!(world.closed.contains(&live.link));
    let live = world.hello_with(&bob, &good, wire::WallTime(0));
    assert_eq!(refusal_of_hello(&world, live), ErrorCode::ProofInvalid);
}

#[test]
fn a_proof_of_another_connection_is_refused() {
    let mut world = World::new();
    let alice = world.register(ALICE, "Alice", 1);
    let first = world.hello(&alice);
    let replayed = credentials(first.link, &alice, alice.tokens().access.expose());
    let link = world.connect();
    let session = world.open(link);
    world.say(link, session, &Request::Hello(hello(Some(replayed))));
    assert_eq!(refusal_of_hello(&world, Live { link, session }), ErrorCode::ProofInvalid);
}

#[test]
fn c1_an_expired_token_gets_refresh_and_nothing_else_and_a_revoked_one_gets_nothing() {
    let mut world = World::new();
    let alice = world.register(ALICE, "Alice", 1);
    world.pass(Duration::from_secs(3601));
    let live = world.hello(&alice);
    assert_eq!(refusal_of_hello(&world, live), ErrorCode::TokenExpired);
    let link = world.anonymous();
    let refreshed = world.ask(link, &refresh(link, &alice, &alice.tokens().refresh, 1));
    let [Event::Refreshed(tokens)] = &refreshed[..] else { panic!("{refreshed:?}") };
    let live = world.hello_with(&alice, tokens.access.expose(), wire::WallTime(0));
    assert!(matches!(world.heard_on(live.link, live.session)[0], Event::Connected(_)));
    assert_eq!(world.ask(live.link, &Request::Logout), [Event::Done]);
    let live = world.hello_with(&alice, tokens.access.expose(), wire::WallTime(0));
    assert_eq!(refusal_of_hello(&world, live), ErrorCode::TokenRevoked);
    let live = world.hello(&alice);
    assert_eq!(refusal_of_hello(&world, live), ErrorCode::TokenRevoked, "expired and revoked is revoked");
}

#[test]
fn g6_a_revoked_device_is_told_at_once_and_listed_no_more() {
    let mut world = World::new();
    let (phone, tablet) = (world.register(ALICE, "Alice", 1), world.register(ALICE, "Alice", 2));
    let (on_phone, on_tablet) = (world.hello(&phone), world.hello(&tablet));
    let revoke = Request::RevokeDevice { device: tablet.verified.device };
    assert_eq!(world.ask(on_phone.link, &revoke), [Event::Done]);
    let told = world.heard_on(on_tablet.link, on_tablet.session);
    assert!(matches!(told.last(), Some(Event::Goodbye(r)) if r.code == ErrorCode::TokenRevoked), "{told:?}");
    assert_eq!(world.close_codes.get(&on_tablet.link), Some(&CloseCode::Revoked));
    let listed = world.ask(on_phone.link, &Request::ListDevices);
    let [Event::Devices(devices)] = &listed[..] else { panic!("{listed:?}") };
    assert!(matches!(&devices[..], [only] if only.device == phone.verified.device && only.current));
    let refused = refresh(on_phone.link, &tablet, &tablet.tokens().refresh, 1);
    assert_eq!(world.refused(on_phone.link, &refused), ErrorCode::TokenRevoked);
}

#[test]
fn lookup_finds_people_and_is_limited() {
    let mut world = World::new();
    let (alice, bob) = (world.register(ALICE, "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let live = world.hello(&alice);
    let lookup = |phone: &str| Request::Lookup { phone: Secret::new(phone.into()) };
    let found = world.ask(live.link, &lookup("+49 151 00000002"));
    let [Event::Found { account, name, chat }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*account, name.as_str()), (bob.account(), "Bob"));
    assert_eq!(*chat, store::keys::direct_chat_id(alice.account(), bob.account()));
    assert_eq!(world.refused(live.link, &lookup("+4915100000003")), ErrorCode::NotFound);
    assert_eq!(world.refused(live.link, &lookup("bob")), ErrorCode::PhoneInvalid);
    let limited =
        (0..60).filter(|_| world.refused(live.link, &lookup("bob")) == ErrorCode::RateLimited).count();
    assert_eq!(limited, 3, "60 an hour, three were used before");
}

//! What every ephemeral store must do. Each case begins with an empty one.
#![expect(clippy::missing_panics_doc, reason = "a case panics if the store does not conform")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use wire::{AccountId, DeviceId, PersonName, Phone, RegistrationId, RequestId, Secret, WallTime};

use super::{
    Bucket, Ephemeral, EphemeralOp, EphemeralOutput, Limited, OtpError, PutOtp, Rate, Route, Take, Verified,
    VerifyOtp,
};

const T0: WallTime = WallTime(1_700_000_000_000);
const TTL: Duration = Duration::from_secs(300);

fn after(ms: u64) -> WallTime {
    T0 + Duration::from_millis(ms)
}

async fn execute<E: Ephemeral>(e: &E, op: EphemeralOp, now: WallTime) -> EphemeralOutput {
    e.execute(op, now).await.unwrap()
}

async fn take<E: Ephemeral>(e: &E, takes: &[Take], now: WallTime) -> Result<(), Limited> {
    match execute(e, EphemeralOp::Take(takes.to_vec()), now).await {
        EphemeralOutput::Take(taken) => taken,
        other => panic!("{other:?}"),
    }
}

fn messages(n: u8, burst: u32, per: Duration) -> Take {
    Take { bucket: Bucket::Messages(AccountId::new([n; 16])), rate: Rate { burst, per } }
}

fn limited(ms: u64) -> Result<(), Limited> {
    Err(Limited { retry_after: Duration::from_millis(ms) })
}

/// R117, I9: a bucket gives `burst` at once, then evenly, exactly; each has its own.
pub async fn r117_i9_buckets_limit_exactly<E: Ephemeral>(e: &E) {
    let mine = [messages(1, 100, Duration::from_secs(60))];
    for _ in 0..100 {
        assert_eq!(take(e, &mine, T0).await, Ok(()));
    }
    assert_eq!(take(e, &mine, T0).await, limited(600));
    assert_eq!(take(e, &mine, after(599)).await, limited(1));
    assert_eq!(take(e, &mine, after(600)).await, Ok(()));
    assert_eq!(take(e, &mine, after(600)).await, limited(600));
    assert_eq!(take(e, &[messages(2, 100, Duration::from_secs(60))], T0).await, Ok(()));
    let mut taken = 0;
    for ms in 601..=60_600 {
        taken += u32::from(take(e, &mine, after(ms)).await.is_ok());
    }
    assert_eq!(taken, 100, "a minute brings a hundred, however often one asks");
    assert_eq!(take(e, &mine, after(10_000_000)).await, Ok(()), "and no more than a bucket full");
}

/// C2, R22: several buckets give one token each, or none does.
pub async fn c2_takes_are_all_or_none<E: Ephemeral>(e: &E) {
    let hour = Duration::from_secs(3600);
    let phone = Bucket::OtpPhone(Phone::parse("+4915112345678").unwrap());
    let address = Bucket::Anonymous(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let phone = Take { bucket: phone, rate: Rate { burst: 3, per: hour } };
    let address = Take { bucket: address, rate: Rate { burst: 5, per: hour } };
    let both = [address.clone(), phone.clone()];
    for _ in 0..3 {
        assert_eq!(take(e, &both, T0).await, Ok(()));
    }
    assert_eq!(take(e, &both, T0).await, limited(1_200_000));
    assert_eq!(take(e, &[address.clone(), address.clone()], T0).await, Ok(()), "the refusal took nothing");
    assert_eq!(take(e, std::slice::from_ref(&address), T0).await, limited(720_000));
    execute(e, EphemeralOp::Refund(address.clone()), T0).await;
    assert_eq!(
        take(e, &[address.clone(), address.clone()], T0).await,
        limited(720_000),
        "twice is two tokens"
    );
    assert_eq!(take(e, &[address], T0).await, Ok(()));
}

/// A refund never fills a bucket beyond its size.
pub async fn a_refund_is_bounded<E: Ephemeral>(e: &E) {
    let mine = messages(1, 2, Duration::from_secs(2));
    for _ in 0..5 {
        execute(e, EphemeralOp::Refund(mine.clone()), T0).await;
    }
    let mine = [mine];
    let tries = [take(e, &mine, T0).await, take(e, &mine, T0).await, take(e, &mine, T0).await];
    assert_eq!(tries, [Ok(()), Ok(()), limited(1000)]);
}

fn phone(n: u8) -> Phone {
    Phone::parse(&format!("+49151{n:07}")).unwrap()
}

fn put(registration: u8, request: u8, n: u8, code: u8, now: WallTime) -> PutOtp {
    PutOtp {
        registration: RegistrationId::new([registration; 16]),
        request: RequestId::new([request; 16]),
        phone: phone(n),
        name: PersonName::parse("Ann").unwrap(),
        code_hash: Secret::new([code; 32]),
        ttl: TTL,
        attempts_max: 3,
        now,
    }
}

async fn put_otp<E: Ephemeral>(e: &E, put: PutOtp) -> (RegistrationId, bool, Duration) {
    let now = put.now;
    match execute(e, EphemeralOp::PutOtp(put), now).await {
        EphemeralOutput::PutOtp { registration, repeat, expires_in } => (registration, repeat, expires_in),
        other => panic!("{other:?}"),
    }
}

async fn verify<E: Ephemeral>(
    e: &E,
    registration: u8,
    code: u8,
    device: u8,
    now: WallTime,
) -> Result<Verified, OtpError> {
    let registration = RegistrationId::new([registration; 16]);
    let (code_hash, device) = (Secret::new([code; 32]), DeviceId::new([device; 16]));
    match execute(e, EphemeralOp::VerifyOtp(VerifyOtp { registration, code_hash, device, now }), now).await {
        EphemeralOutput::VerifyOtp(verified) => verified,
        other => panic!("{other:?}"),
    }
}

/// R15, R18, R124: three tries, five minutes, and distinct errors.
pub async fn r18_r124_a_code_dies_of_tries_and_time<E: Ephemeral>(e: &E) {
    assert_eq!(verify(e, 1, 7, 1, T0).await.unwrap_err(), OtpError::Unknown);
    put_otp(e, put(1, 1, 1, 7, T0)).await;
    for _ in 0..3 {
        assert_eq!(verify(e, 1, 8, 1, T0).await.unwrap_err(), OtpError::Wrong);
    }
    assert_eq!(verify(e, 1, 7, 1, T0).await.unwrap_err(), OtpError::Exhausted, "even the right one, now");
    put_otp(e, put(2, 2, 2, 7, T0)).await;
    assert_eq!(verify(e, 2, 7, 1, after(300_000)).await.unwrap_err(), OtpError::Expired);
    assert_eq!(verify(e, 2, 7, 1, after(299_999)).await.unwrap().phone, phone(2));
}

/// R16: a new request for a number replaces the old code; the same request does not, and tells the first registration.
pub async fn r16_a_new_request_replaces_and_a_repeat_does_not<E: Ephemeral>(e: &E) {
    let id = |n| RegistrationId::new([n; 16]);
    assert_eq!(put_otp(e, put(1, 1, 1, 7, T0)).await, (id(1), false, TTL));
    let repeat = put_otp(e, put(2, 1, 1, 8, after(100_000))).await;
    assert_eq!(repeat, (id(1), true, Duration::from_secs(200)));
    assert_eq!(verify(e, 2, 8, 1, after(100_001)).await.unwrap_err(), OtpError::Unknown);
    assert_eq!(put_otp(e, put(3, 3, 1, 9, after(100_002))).await, (id(3), false, TTL));
    assert_eq!(verify(e, 1, 7, 1, after(100_003)).await.unwrap_err(), OtpError::Unknown, "replaced");
    assert_eq!(put_otp(e, put(4, 4, 2, 9, T0)).await.0, id(4), "another number has its own");
    let verified = verify(e, 3, 9, 1, after(100_003)).await.unwrap();
    assert_eq!((verified.phone, verified.name.as_str()), (phone(1), "Ann"));
    let late = put_otp(e, put(5, 3, 1, 7, after(500_000))).await;
    assert_eq!(late, (id(5), false, TTL), "a repeat of what has ended is new");
}

/// A right code is used up by one device, which may repeat its request.
pub async fn a_code_is_used_by_one_device<E: Ephemeral>(e: &E) {
    put_otp(e, put(1, 1, 1, 7, T0)).await;
    assert!(verify(e, 1, 7, 1, T0).await.is_ok());
    assert_eq!(verify(e, 1, 7, 2, T0).await.unwrap_err(), OtpError::Exhausted);
    assert!(verify(e, 1, 7, 1, after(299_999)).await.is_ok(), "the reply was lost");
    assert_eq!(verify(e, 1, 7, 1, after(300_000)).await.unwrap_err(), OtpError::Expired);
}

async fn put_route<E: Ephemeral>(e: &E, route: Route, now: WallTime) -> Option<Route> {
    match execute(e, EphemeralOp::PutRoute(route), now).await {
        EphemeralOutput::PutRoute(replaced) => replaced,
        other => panic!("{other:?}"),
    }
}

async fn is_online<E: Ephemeral>(e: &E, account: AccountId, now: WallTime) -> bool {
    match execute(e, EphemeralOp::IsOnline(account), now).await {
        EphemeralOutput::IsOnline(online) => online,
        other => panic!("{other:?}"),
    }
}

/// R26, R28: a route lives five minutes from its last touch, and only its own connection removes it.
pub async fn r26_r28_routes_end_with_their_connection<E: Ephemeral>(e: &E) {
    let route = |connection| Route {
        account: AccountId::new([1; 16]),
        device: DeviceId::new([1; 16]),
        node: 1,
        connection,
    };
    let account = route(1).account;
    assert!(!is_online(e, account, T0).await);
    assert_eq!(put_route(e, route(1), T0).await, None);
    assert!(is_online(e, account, T0).await && !is_online(e, AccountId::new([0; 16]), T0).await);
    assert_eq!(put_route(e, route(2), T0).await, Some(route(1)));
    execute(e, EphemeralOp::DropRoute(route(1)), T0).await;
    execute(e, EphemeralOp::TouchRoute(route(1)), after(200_000)).await;
    assert_eq!(
        put_route(e, route(3), after(299_999)).await,
        Some(route(2)),
        "an old connection changes nothing"
    );
    execute(e, EphemeralOp::TouchRoute(route(3)), after(500_000)).await;
    assert_eq!(put_route(e, route(4), after(799_999)).await, Some(route(3)), "a touch is five more minutes");
    assert!(is_online(e, account, after(1_099_998)).await && !is_online(e, account, after(1_100_000)).await);
    assert_eq!(put_route(e, route(5), after(1_100_000)).await, None, "it has ended");
    execute(e, EphemeralOp::DropRoute(route(5)), after(1_100_000)).await;
    assert!(!is_online(e, account, after(1_100_000)).await);
    execute(e, EphemeralOp::TouchRoute(route(5)), after(1_100_001)).await;
    assert_eq!(
        put_route(e, route(6), after(1_100_002)).await,
        Some(route(5)),
        "a touch brings back what was lost"
    );
}

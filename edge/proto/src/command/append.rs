//! What a device says in one chat: messages and cursor moves on the chat's up stream.
//!
//! Order: messages of one stream go to the store in the order they came, in groups, and a group only after the one
//! before it is committed. A refusal after which the message is to be said again, unchanged or sealed anew, ends the stream, so that
//! nothing after it overtakes it. An ack leaves only after the commit, and fan-out belongs to the commit, whether the
//! connection is still there or not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::ephemeral::{Bucket, EphemeralOp, Take};
use store::keys::direct_chat_id;
use store::op::{self, AppendError, Appended, CursorError, CursorMoved, Message, MoveCursor, NotMember, Op};
use wire::{
    AccountId, ChatId, CloseCode, Epoch, ErrorCode, Event, LogId, Refusal, Seq, WallTime, limits, request,
};

use super::Identity;
use super::typing::{Place, Typing};

use crate::conn::Conn;
use crate::counters::Timing;
use crate::cx::{Cx, Pending};
use crate::fanout::Hint;
use crate::io::{EffectError, LinkId, Output, StreamId};
use crate::limits::Rates;
use crate::moves::Move;
use crate::timers::Timer;

/// Content bytes in one group: half of a transaction's budget.
const GROUP_BYTES_MAX: usize = 512 * 1024;

/// A chat's up stream.
#[derive(Debug)]
pub(crate) struct ChatUp {
    who: Identity,
    chat: ChatId,
    peer: Option<AccountId>,
    typing: Typing,
    /// Messages that wait for the group before them; bounded by [`limits::APPENDS_IN_FLIGHT_MAX`] by pausing the stream.
    queue: VecDeque<Message>,
    /// When each message arrived: those in work, then those in the queue.
    arrived: VecDeque<Instant>,
    /// Messages in the group that is being counted or committed.
    in_work: usize,
    paused: bool,
    /// A refusal was sent after which nothing may be appended that still comes: it is not looked at.
    ended: bool,
    /// The account is no member any more: the stream ends once what is in work is answered.
    expelled: bool,
    /// The client has said all.
    finished: bool,
}

impl ChatUp {
    /// A stream for a chat; a named peer must be the chat's other account.
    pub(crate) fn new(who: Identity, chat: ChatId, peer: Option<AccountId>) -> Result<ChatUp, ErrorCode> {
        if peer.is_some_and(|peer| direct_chat_id(who.account, peer) != chat) {
            return Err(ErrorCode::ChatMismatch);
        }
        Ok(ChatUp {
            who,
            chat,
            peer,
            typing: Typing::default(),
            queue: VecDeque::new(),
            arrived: VecDeque::new(),
            in_work: 0,
            paused: false,
            ended: false,
            expelled: false,
            finished: false,
        })
    }

    /// One message arrived.
    pub(crate) fn append(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId, append: request::Append) {
        if self.ended {
            return;
        }
        let client_msg_id = append.client_msg_id;
        if let Some(code) = content_error(append.content.len()) {
            cx.counters.refused.add(code);
            let (refusal, epoch) = (code.refuse(), Epoch::ZERO);
            return cx.send(link, stream, &Event::AppendRefused { client_msg_id, refusal, epoch });
        }
        self.arrived.push_back(cx.now.instant);
        let request::Append { kind, content, epoch, .. } = append;
        self.queue.push_back(Message { client_msg_id, kind, content, epoch });
        if !self.paused && self.queue.len() + self.in_work >= limits::APPENDS_IN_FLIGHT_MAX {
            self.paused = true;
            cx.output(Output::Pause { link, stream });
        }
        self.advance(cx, link, stream);
    }

    /// Cursors moved. They are gathered, and ride with the chat's next appends.
    pub(crate) fn move_cursor(
        &mut self,
        cx: &mut Cx,
        link: LinkId,
        stream: StreamId,
        delivered: Seq,
        read: Seq,
    ) {
        if !self.ended {
            gather(cx, self.who, LogId::Chat(self.chat), (link, stream), (delivered, read));
        }
    }

    /// The chat that the stream is for.
    pub(crate) fn chat(&self) -> ChatId {
        self.chat
    }

    /// Whether the device has a chat open by this stream.
    pub(crate) fn is_open(&self, chat: ChatId) -> bool {
        self.chat == chat && !self.ended
    }

    /// The account is no member any more: the stream ends, and says why. What the client has to say of what arrived before,
    /// it says on another one.
    pub(crate) fn expel(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId) {
        self.expelled = true;
        if self.in_work == 0 && !self.ended {
            cx.counters.refused.add(ErrorCode::NotMember);
            cx.send(link, stream, &Event::Refused(ErrorCode::NotMember.refuse()));
            self.end(cx, link, stream);
        }
    }

    /// Somebody is no member any more: who hears of typing is asked anew.
    pub(crate) fn members_changed(&mut self) {
        self.typing.members_changed();
    }

    /// The person types, or has stopped.
    pub(crate) fn typing(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId, typing: bool) {
        let place = Place { link, stream, chat: self.chat };
        self.typing.said(cx, self.who, place, typing);
    }

    /// The chat's members were read, to tell them.
    pub(crate) fn members_read(
        &mut self,
        cx: &mut Cx,
        typing: bool,
        members: Result<Result<Vec<AccountId>, NotMember>, EffectError>,
    ) {
        self.typing.members_read(cx, self.who, self.chat, typing, members);
    }

    /// The client has said all; `true` if everything is answered, so that the stream is over.
    pub(crate) fn finish(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId) -> bool {
        self.finished = true;
        self.close_if_answered(cx, link, stream)
    }

    fn close_if_answered(&self, cx: &mut Cx, link: LinkId, stream: StreamId) -> bool {
        let answered = self.finished && self.in_work == 0 && self.queue.is_empty();
        if answered && !self.ended {
            cx.output(Output::Finish { link, stream });
        }
        answered
    }

    /// Hands the next group on, if none is in work: counted first, then committed.
    fn advance(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId) {
        if self.in_work > 0 || self.queue.is_empty() || self.ended {
            return;
        }
        if cx.is_busy() {
            return self.refuse_next(cx, link, stream, ErrorCode::Busy.refuse());
        }
        let messages = self.next_group(limits::APPENDS_IN_FLIGHT_MAX);
        self.count(cx, link, stream, messages);
    }

    fn next_group(&mut self, count_max: usize) -> Vec<Message> {
        let mut bytes = 0;
        let fits = |message: &&Message| {
            bytes += message.content.len();
            bytes <= GROUP_BYTES_MAX
        };
        let count = self.queue.iter().take(count_max).take_while(fits).count().max(1);
        self.queue.drain(..count.min(self.queue.len())).collect()
    }

    fn count(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId, messages: Vec<Message>) {
        self.in_work = messages.len();
        let takes = vec![self.take(cx); messages.len()];
        let account = self.who.account;
        cx.ephemeral(EphemeralOp::Take(takes), Pending::AppendCounted { link, stream, account, messages });
    }

    fn take(&self, cx: &Cx) -> Take {
        message_take(cx, self.who.account)
    }

    /// The group was counted, or there are too few tokens: then half of it is tried, and one alone is refused.
    pub(crate) fn counted(
        &mut self,
        cx: &mut Cx,
        link: LinkId,
        stream: StreamId,
        mut messages: Vec<Message>,
        taken: Result<(), Refusal>,
    ) {
        let Err(refusal) = taken else {
            return self.commit(cx, link, stream, messages);
        };
        if messages.len() == 1 || refusal.code != ErrorCode::RateLimited {
            self.put_back(messages);
            return self.refuse_next(cx, link, stream, refusal);
        }
        let rest = messages.split_off(messages.len().div_ceil(2));
        self.put_back(rest);
        self.count(cx, link, stream, messages);
    }

    fn put_back(&mut self, messages: Vec<Message>) {
        self.in_work = 0;
        for message in messages.into_iter().rev() {
            self.queue.push_front(message);
        }
    }

    fn commit(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId, messages: Vec<Message>) {
        let (Identity { account, device }, chat) = (self.who, self.chat);
        let log = LogId::Chat(chat);
        let append = op::Append {
            log,
            peer: self.peer,
            sender: account,
            device,
            messages: messages.clone(),
            now: cx.now.wall,
        };
        cx.store(Op::Append(append), Pending::Append { link, stream, account, chat, messages });
        cx.flush_moves(log);
    }

    /// The group is decided: acks, refusals, then the next group.
    pub(crate) fn committed(
        &mut self,
        cx: &mut Cx,
        link: LinkId,
        stream: StreamId,
        messages: Vec<Message>,
        result: &Result<Vec<Result<Appended, AppendError>>, EffectError>,
    ) -> bool {
        self.in_work = 0;
        let results = match result {
            Ok(results) => results,
            Err(error) => {
                self.put_back(messages);
                self.refuse_next(cx, link, stream, (*error).into());
                return self.finished;
            }
        };
        for (message, result) in messages.iter().zip(results) {
            self.answered(cx, result);
            cx.send(link, stream, &append_answer(message, result));
        }
        if results.iter().any(|result| result.as_ref().is_err_and(|error| needs_another_epoch(*error))) {
            self.end(cx, link, stream);
            return self.finished;
        }
        if self.expelled {
            self.expel(cx, link, stream);
            return self.finished;
        }
        if self.paused && self.queue.len() < limits::APPENDS_IN_FLIGHT_MAX / 2 {
            self.paused = false;
            cx.output(Output::Resume { link, stream });
        }
        self.advance(cx, link, stream);
        self.close_if_answered(cx, link, stream)
    }

    /// Counts the oldest message's answer.
    fn answered(&mut self, cx: &mut Cx, result: &Result<Appended, AppendError>) {
        match (self.arrived.pop_front(), result) {
            (Some(at), Ok(_)) => cx.timed(Timing::Acked(cx.now.instant.saturating_duration_since(at))),
            (_, Err(error)) => cx.counters.refused.add(append_code(*error)),
            (None, Ok(_)) => {}
        }
    }

    /// Refuses the oldest message, for now, and with it everything after it: the stream ends.
    fn refuse_next(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId, refusal: Refusal) {
        let Some(message) = self.queue.pop_front() else { return };
        cx.counters.refused.add(refusal.code);
        let (client_msg_id, epoch) = (message.client_msg_id, Epoch::ZERO);
        cx.send(link, stream, &Event::AppendRefused { client_msg_id, refusal, epoch });
        self.end(cx, link, stream);
    }

    /// Nothing that still comes is looked at.
    fn end(&mut self, cx: &mut Cx, link: LinkId, stream: StreamId) {
        self.queue.clear();
        self.arrived.clear();
        self.ended = true;
        cx.output(Output::Finish { link, stream });
        cx.output(Output::Stop { link, stream, code: CloseCode::Cancelled });
    }
}

/// Gathers a device's cursor moves in a log, for a moment.
pub(super) fn gather(
    cx: &mut Cx,
    who: Identity,
    log: LogId,
    (link, stream): (LinkId, StreamId),
    (delivered, read): (Seq, Seq),
) {
    let Identity { account, device } = who;
    if !cx.moves.has_room(log, device, cx.limits.effects_in_flight) {
        cx.counters.refused.add(ErrorCode::Busy);
        return cx.send(link, stream, &Event::Refused(ErrorCode::Busy.refuse()));
    }
    let op = MoveCursor { log, account, device, delivered, read, in_doubt: false, now: cx.now.wall };
    if cx.moves.add(Move { op, link, stream }) {
        cx.after(until_moves(cx.limits.cursor_coalesce_ms, cx.now.wall), Timer::Moves(log));
    }
}

fn content_error(bytes: usize) -> Option<ErrorCode> {
    match bytes {
        0 => Some(ErrorCode::ContentEmpty),
        1..=limits::CONTENT_BYTES_MAX => None,
        _ => Some(ErrorCode::ContentTooLarge),
    }
}

fn message_take(cx: &Cx, account: AccountId) -> Take {
    Take { bucket: Bucket::Messages(account), rate: Rates::per_minute(cx.limits.rates.messages_per_minute) }
}

fn append_answer(message: &Message, result: &Result<Appended, AppendError>) -> Event {
    let client_msg_id = message.client_msg_id;
    match *result {
        Ok(Appended { seq, at, delivered, .. }) => Event::AppendAck { client_msg_id, seq, at, delivered },
        Err(error) => {
            let epoch = match error {
                AppendError::StaleEpoch { current } => current,
                _ => Epoch::ZERO,
            };
            Event::AppendRefused { client_msg_id, refusal: append_code(error).refuse(), epoch }
        }
    }
}

/// Whether a message must be sealed anew, so that nothing after it may be appended before it.
fn needs_another_epoch(error: AppendError) -> bool {
    match error {
        AppendError::CommitFirst | AppendError::StaleEpoch { .. } => true,
        AppendError::NotMember | AppendError::RecipientUnknown | AppendError::IdUsed => false,
    }
}

fn append_code(error: AppendError) -> ErrorCode {
    match error {
        AppendError::NotMember => ErrorCode::NotMember,
        AppendError::RecipientUnknown => ErrorCode::RecipientUnknown,
        AppendError::IdUsed => ErrorCode::IdUsed,
        AppendError::CommitFirst => ErrorCode::CommitFirst,
        AppendError::StaleEpoch { .. } => ErrorCode::StaleEpoch,
    }
}

/// Gives back what messages were charged that came to nothing.
pub(crate) fn refund(cx: &mut Cx, account: AccountId, messages: usize) {
    for _ in 0..messages {
        let take = message_take(cx, account);
        cx.ephemeral(EphemeralOp::Refund(take), Pending::Nothing);
    }
}

/// Messages failed. What may be committed all the same stays charged: it is a repeat when it is said again, and that one
/// gets its tokens back.
pub(crate) fn not_committed(cx: &mut Cx, account: AccountId, messages: usize, error: EffectError) {
    if !error.maybe_done {
        refund(cx, account, messages);
    }
}

/// Tells everyone of committed messages; gives back the tokens of those that were there before or were refused. `own` is
/// the connection that they were acknowledged on, if it is still there: what it has by its acks it is not told.
pub(crate) fn fan_out(
    cx: &mut Cx,
    mut own: Option<&mut Conn>,
    account: AccountId,
    chat: ChatId,
    results: &[Result<Appended, AppendError>],
) {
    let mut accounts: Arc<[AccountId]> = Arc::from([]);
    for result in results {
        match result {
            Ok(appended) if !appended.repeat => {
                cx.counters.appends += 1;
                if *accounts != *appended.members {
                    accounts = appended.members.as_slice().into();
                }
                let (seq, at, frame) = (appended.seq, appended.at, Some(appended.frame.clone()));
                let (accounts, ended) = (accounts.clone(), Arc::from([]));
                let hint = Hint::Entry { chat, seq, at, frame, accounts, ended };
                let knows =
                    own.as_mut().and_then(|conn| conn.has_own(cx.now, chat, appended).then_some(conn.link));
                cx.publish_except(hint, knows);
            }
            Ok(_) => {
                cx.counters.repeats += 1;
                refund(cx, account, 1);
            }
            Err(_) => refund(cx, account, 1),
        }
    }
}

/// A gathered cursor move is decided: others are told, or its stream is. A store that could not say is asked again, as
/// long as whoever said it is there: a client tells on its next connection what may be lost with the last. What may be
/// done already is asked again even so, since only whoever asks tells others of it.
pub(crate) fn moved(
    cx: &mut Cx,
    is_connected: bool,
    mut gathered: Move,
    result: Result<Result<CursorMoved, CursorError>, EffectError>,
) {
    let MoveCursor { log, device, .. } = gathered.op;
    let code = match result {
        Ok(Ok(moved)) => {
            cx.counters.cursor_moves += u64::from(moved.moved);
            if let (LogId::Chat(chat), true) = (log, moved.moved) {
                let accounts = moved.members.into();
                cx.publish(Hint::Cursor { chat, cursor: moved.cursor, except: device, accounts });
            }
            return;
        }
        Ok(Err(CursorError::Ahead)) => ErrorCode::CursorAhead,
        Ok(Err(CursorError::NotMember)) => ErrorCode::NotMember,
        Err(error) => {
            gathered.op.in_doubt |= error.maybe_done;
            if (is_connected || gathered.op.in_doubt) && cx.moves.add(gathered) {
                cx.after(error.retry_after, Timer::Moves(log));
            }
            return;
        }
    };
    cx.counters.refused.add(code);
    cx.send(gathered.link, gathered.stream, &Event::Refused(code.refuse()));
}

/// Moves of all logs are due on one grid, so that they share a group commit, and a loop wakes once for all of them.
fn until_moves(grid_ms: u32, now: WallTime) -> Duration {
    let grid = u64::from(grid_ms).max(1);
    Duration::from_millis(grid - now.as_millis() % grid)
}

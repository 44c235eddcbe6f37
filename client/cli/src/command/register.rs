//! `godwit register`.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use client_core::Ask;
use serde_json::json;
use wire::event::{Event, Verified};
use wire::request::{self, Request};
use wire::{PersonName, Phone, RegistrationId, Secret, label};

use super::{Common, parse_phone};
use crate::error::CliError;
use crate::profile::{Profile, Server};
use crate::session::Session;

/// See [`super::Command::Register`].
#[derive(Debug, Args)]
pub struct Register {
    #[command(flatten)]
    common: Common,
    /// The phone number, with country code: +4915112345678.
    #[arg(long, value_name = "NUMBER")]
    phone: String,
    /// The name that others see, for a new account.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Protect a new profile by a passphrase, asked for on the terminal; --passphrase-file does so, too. Without one its key
    /// lies beside it, in a file for your user alone.
    #[arg(long)]
    passphrase: bool,
    /// What this device is called among your devices.
    #[arg(long, value_name = "LABEL", default_value = "terminal")]
    device_name: String,
    /// Where the server is; remembered in the profile.
    #[arg(long, value_name = "HOST:PORT", env = "GODWIT_SERVER")]
    server: Option<String>,
    /// The CA certificate to trust, in PEM form; remembered in the profile.
    #[arg(long, value_name = "FILE", env = "GODWIT_CA")]
    ca: Option<PathBuf>,
    /// The code, if it is known already.
    #[arg(long, value_name = "NNNNNN", conflicts_with = "code_file")]
    code: Option<String>,
    /// A file that a development node writes text messages to; the code is read from it.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

impl Register {
    pub(super) fn run(self) -> Result<(), CliError> {
        let phone = parse_phone(&self.phone)?;
        PersonName::parse(&self.name)
            .map_err(|_| CliError::Usage("a name is 1 to 255 characters, none of them control characters"))?;
        let profile = self.prepare()?;
        let install = profile.db.install();
        let mut session = Session::open_anonymous(profile)?;
        let older = self.code_file.as_deref().map_or(0, file_bytes);
        let register = request::Register {
            phone: Secret::new(phone.expose().to_owned()),
            name: self.name.clone(),
            install,
            request: session.client.request_id(),
        };
        let timeout = self.common.timeout();
        let events = session.request(Request::Register(register), timeout)?;
        let [Event::Registered { registration, expires_in }] = events[..] else {
            return Err(CliError::Unexpected);
        };
        let verified = self.verify(&mut session, &phone, registration, older, expires_in)?;
        // Nobody can write to it before.
        let reachable = session.until_reachable(timeout);
        session.close();
        reachable?;
        self.common.form().print(
            || json!({"event": "registered", "account": verified.account.to_string(), "device": verified.device.to_string(), "name": verified.name}),
            || format!("{} is registered on this device (account {})", verified.name, verified.account),
        )?;
        Ok(())
    }

    /// The profile with where to connect: what is said now, or was before.
    fn prepare(&self) -> Result<Profile, CliError> {
        let mut profile = self.common.profile.create(self.passphrase)?;
        let before = profile.server()?;
        let address = self.server.clone().or(before.as_ref().map(|server| server.address.clone()));
        let ca = self.ca.clone().or(before.map(|server| server.ca));
        let (Some(address), Some(ca)) = (address, ca) else {
            return Err(CliError::Usage("a new profile needs --server HOST:PORT and --ca FILE"));
        };
        let ca = std::path::absolute(&ca)?;
        profile.set_server(&Server { address, ca })?;
        Ok(profile)
    }

    fn verify(
        &self,
        session: &mut Session,
        phone: &Phone,
        registration: RegistrationId,
        older: u64,
        expires_in: Duration,
    ) -> Result<Verified, CliError> {
        loop {
            let code = match (&self.code, &self.code_file) {
                (Some(code), _) => code.clone(),
                (None, Some(file)) => wait_for_code(session, file, phone, older, self.common.timeout())?,
                (None, None) => ask_for_code(expires_in)?,
            };
            let device_name = label(&self.device_name);
            let ask = Ask::Verify { registration, otp: Secret::new(code), device_name };
            match session.ask(ask, self.common.timeout()) {
                Ok(events) => match events.into_iter().next() {
                    Some(Event::Verified(verified)) => return Ok(verified),
                    _ => return Err(CliError::Unexpected),
                },
                // A person may have mistyped; a script may not.
                Err(CliError::Refused(refusal))
                    if refusal.code == wire::ErrorCode::OtpWrong
                        && self.code.is_none()
                        && self.code_file.is_none() =>
                {
                    eprintln!("godwit: {}", refusal.code.text());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn ask_for_code(expires_in: Duration) -> Result<String, CliError> {
    let mut out = std::io::stderr();
    write!(out, "The code in the text message (valid for {} minutes): ", expires_in.as_secs() / 60)?;
    out.flush()?;
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line)? {
        0 => Err(CliError::Usage("no code was given: use --code, --code-file, or type it")),
        _ => Ok(line.trim().to_owned()),
    }
}

/// How long a file is; what it holds so far is older than what comes.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Waits for a message to this number in a development node's file, after the first `older` bytes.
fn wait_for_code(
    session: &mut Session,
    file: &Path,
    phone: &Phone,
    older: u64,
    timeout: Duration,
) -> Result<String, CliError> {
    let deadline = Instant::now() + timeout;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // A file that is shorter than it was is a new one.
        let new = usize::try_from(older).ok().and_then(|older| text.get(older..)).unwrap_or(&text);
        if let Some(code) = new.lines().rev().find_map(|line| code_in(line, phone)) {
            return Ok(code);
        }
        if Instant::now() >= deadline {
            return Err(CliError::Usage("no code for this number came to --code-file in time"));
        }
        session.turn(Instant::now() + Duration::from_millis(50))?;
    }
}

fn code_in(line: &str, phone: &Phone) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let fits = message["to"] == phone.expose();
    let code = message["text"].as_str()?.rsplit(' ').next()?;
    (fits && code.len() == wire::limits::OTP_DIGITS).then(|| code.to_owned())
}

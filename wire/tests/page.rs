//! `PROTOCOL.md` is all that the author of another client reads: its tables say what the code does.

use wire::{ErrorCode, RetryKind, limits};

const PAGE: &str = include_str!("../PROTOCOL.md");

#[test]
fn r115_the_page_lists_every_refusal_with_its_retry() {
    for code in ErrorCode::ALL {
        let retry = match code.retry_kind() {
            RetryKind::Never => "never",
            RetryKind::After => "after",
            RetryKind::Reauthenticate => "reauthenticate",
        };
        let row = format!("| {} | `{code:?}` | {retry} | {} |", code.number(), code.text());
        assert!(PAGE.lines().any(|line| line == row), "PROTOCOL.md lacks this row: {row}");
    }
}

#[test]
fn r115_the_page_lists_the_limits() {
    let thousands = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    let rows = [
        format!(
            "| a frame's FlatBuffer | {} bytes, {} tables, {} deep |",
            thousands(limits::FRAME_BYTES_MAX),
            thousands(limits::FRAME_TABLES_MAX),
            limits::FRAME_DEPTH_MAX
        ),
        format!("| `Append.content` | 1 to {} bytes |", thousands(limits::CONTENT_BYTES_MAX)),
        format!("| `Hello.cursors` | {} |", thousands(limits::HELLO_CURSORS_MAX)),
        format!("| `Hello.token` | {} bytes |", thousands(limits::ACCESS_TOKEN_BYTES_MAX)),
        format!("| `Hello.server_name` | 1 to {} bytes, in early data |", limits::SERVER_NAME_BYTES_MAX),
        format!("| a refresh token | {} bytes |", limits::REFRESH_TOKEN_BYTES),
        format!(
            "| `GetMessages.limit` | 1 to {}, {} if it is left out |",
            limits::HISTORY_PAGE_MAX,
            limits::HISTORY_PAGE_DEFAULT
        ),
        format!("| `Chats` | {} in one answer |", limits::CHATS_PAGE_MAX),
        format!(
            "| a commit | {} bytes, {} devices added |",
            thousands(limits::HANDSHAKE_BYTES_MAX),
            limits::COMMIT_ADDS_MAX
        ),
        format!(
            "| a tree, a welcome | {} bytes, {} bytes |",
            thousands(limits::TREE_BYTES_MAX),
            thousands(limits::WELCOME_BYTES_MAX)
        ),
        format!("| a commit with its tree and welcomes | {} bytes |", thousands(limits::COMMIT_BYTES_MAX)),
        format!(
            "| a group | {} accounts, {} devices |",
            limits::GROUP_ACCOUNTS_MAX,
            thousands(limits::GROUP_LEAVES_MAX)
        ),
        format!(
            "| key packages | {} bytes each, {} in one request, {} stored |",
            thousands(limits::KEY_PACKAGE_BYTES_MAX),
            limits::KEY_PACKAGES_PUBLISHED_MAX,
            limits::KEY_PACKAGES_STORED_MAX
        ),
        format!("| `ClaimKeyPackages.accounts` | {} |", limits::CLAIM_ACCOUNTS_MAX),
        format!(
            "| `KeyPackages` | {} devices and {} bytes of packages in one answer |",
            limits::CLAIM_DEVICES_MAX,
            thousands(limits::CLAIM_BYTES_MAX)
        ),
    ];
    for row in rows {
        assert!(PAGE.lines().any(|line| line == row), "PROTOCOL.md lacks this row: {row}");
    }
    let digits = format!("{} to {} digits", limits::PHONE_DIGITS_MIN, limits::PHONE_DIGITS_MAX);
    let name = format!("1 to {} characters", limits::NAME_CHARS_MAX);
    let label = format!("{} characters; the rest is cut off", limits::LABEL_CHARS_MAX);
    for words in [digits, name, label] {
        assert!(PAGE.contains(&words), "PROTOCOL.md does not say \"{words}\"");
    }
}

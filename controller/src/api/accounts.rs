//! The account pool: make, change, list and test accounts, sign them in, and switch panes between them.
//!
//! Constraints: credentials come in and never go out; they are checked before anything is stored, and no part of them is
//! in an error, in the audit trail or in a log. Switching is asked for here and done by a workflow.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::Status;
use wa_link::clock;
use wa_proto::wire::{optional_us, to_us, v1};
use wa_proto::{AccountAlias, AgentKind, ErrorCode, Host, OutcomeKind, PaneAddress, Timestamp};
use zeroize::Zeroizing;

use super::runs::ByHand;
use super::{Fleet, address, only_host, status, usage};
use crate::accounts::choice::{self, Choice, SignIn, Window};
use crate::accounts::{Credentials, one_time};
use crate::identity::peer::Peer;
use crate::registry::{PaneView, changed_before};
use crate::store::{AccountChange, AccountRow, AccountState, DEFAULT_POOL, HomeRow, PoolRow};

/// Agents that are known to have accounts.
const AGENTS: [&str; 3] = ["codex", "claude", "gemini"];
/// Bytes.
const MAX_ALIAS: usize = 63;
const MAX_USERNAME: usize = 320;
const MAX_PASSWORD: usize = 1024;
const MAX_API_KEY: usize = 4096;
const MAX_HOSTS: usize = 256;
const MAX_PANES: u32 = 10_000;
/// How long a new pane may take until its node shows it.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// What a sign-in is typed into: the login shell of the host's user.
const SHELL: [&str; 3] = ["sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l"];

impl Fleet {
    pub(super) async fn make_account(
        &self,
        peer: &Peer,
        request: v1::AddAccountRequest,
    ) -> Result<v1::AddAccountResponse, Status> {
        let alias = alias(&request.alias)?;
        if !AGENTS.contains(&request.agent.as_str()) {
            let message = format!("agent {:?} has no accounts here: {}", request.agent, AGENTS.join(", "));
            return Err(usage(message));
        }
        let credentials = credentials(request.credentials.unwrap_or_default())?;
        let sign_in = sign_in(&request.sign_in, &request.agent, &names_of(&credentials))?;
        let account = AccountRow {
            alias: alias.clone(),
            agent: AgentKind::new(request.agent),
            pool: pool_name(&request.pool)?,
            sign_in,
            provider: self.provider(request.provider)?,
            max_panes: max_panes(request.max_panes)?,
            disabled: false,
            default_hosts: hosts(request.default_hosts)?,
            last_used: None,
        };
        let (caller, who) = (peer.clone(), peer.who());
        let added = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.add_account(&account, &credentials, &who)
        });
        added.await.map_err(|e| status(&e))?;
        Ok(v1::AddAccountResponse { account: Some(self.one_account(peer, &alias).await?) })
    }

    pub(super) async fn alter_account(
        &self,
        peer: &Peer,
        request: v1::UpdateAccountRequest,
    ) -> Result<v1::UpdateAccountResponse, Status> {
        let alias = alias(&request.alias)?;
        let before = self.account_state(&alias).await?;
        let credentials = credentials(request.credentials.unwrap_or_default())?;
        let held =
            names_of(&credentials).into_iter().chain(before.fields.iter().map(String::as_str)).collect();
        let agent = before.account.agent.as_str();
        let change = AccountChange {
            disabled: request.disabled,
            sign_in: request.sign_in.as_deref().map(|way| sign_in(way, agent, &held)).transpose()?,
            pool: request.pool.as_deref().map(pool_name).transpose()?,
            max_panes: request.max_panes.map(max_panes).transpose()?,
            default_hosts: request.default_hosts.map(|list| hosts(list.hosts)).transpose()?,
            credentials,
        };
        let nothing = change.is_empty();
        let (caller, who) = (peer.clone(), peer.who());
        if request.remove {
            if !nothing {
                return Err(usage("remove: an account that goes is not changed as well"));
            }
            let gone = alias.clone();
            let removed = self.store.write(move |tx| {
                tx.check_caller(&caller)?;
                tx.remove_account(&gone, &who)
            });
            removed.await.map_err(|e| no_account(&alias, &status(&e)))?;
            self.accounts.forget(&alias, &self.tasks).await;
            return Ok(v1::UpdateAccountResponse { account: None });
        }
        if nothing {
            return Err(usage("nothing is to be changed"));
        }
        let changed = alias.clone();
        let stored = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.change_account(&changed, &change, &who)
        });
        stored.await.map_err(|e| no_account(&alias, &status(&e)))?;
        Ok(v1::UpdateAccountResponse { account: Some(self.one_account(peer, &alias).await?) })
    }

    /// Empty: the agent's own.
    fn provider(&self, name: String) -> Result<String, Status> {
        let known = self.accounts.providers();
        if name.is_empty() || known.contains(&name) {
            return Ok(name);
        }
        Err(usage(format!("provider {name:?} is not in the sign-in data, which has {}", known.join(", "))))
    }

    async fn one_account(&self, peer: &Peer, alias: &AccountAlias) -> Result<v1::Account, Status> {
        let state = self.account_state(alias).await?;
        Ok(account(state, only_host(peer).as_ref(), clock::now()))
    }

    async fn account_state(&self, alias: &AccountAlias) -> Result<AccountState, Status> {
        let mut states = self.store.accounts(None).await.map_err(|e| status(&e))?;
        let at = states.iter().position(|state| state.account.alias == *alias);
        at.map(|at| states.swap_remove(at)).ok_or_else(|| unknown(alias))
    }

    pub(super) async fn accounts_now(
        &self,
        peer: &Peer,
        request: v1::ListAccountsRequest,
    ) -> Result<v1::ListAccountsResponse, Status> {
        let wanted = match request.pool.as_str() {
            "" => None,
            name => Some(pool_name(name)?),
        };
        let pools = self.store.pools(wanted.clone()).await.map_err(|e| status(&e))?;
        if let Some(name) = wanted.as_ref().filter(|_| pools.is_empty()) {
            let message = format!("there is no pool {name}; `wa account list` shows all");
            return Err(ErrorCode::NotFound.status(message));
        }
        let (own, now) = (only_host(peer), clock::now());
        let states = self.store.accounts(wanted).await.map_err(|e| status(&e))?;
        let accounts = states.into_iter().map(|state| account(state, own.as_ref(), now)).collect();
        Ok(v1::ListAccountsResponse { accounts, pools: pools.into_iter().map(pool).collect() })
    }

    pub(super) async fn change_pool(
        &self,
        peer: &Peer,
        request: v1::SetPoolRequest,
    ) -> Result<v1::SetPoolResponse, Status> {
        let (name, switching) = (pool_name(&request.name)?, request.switching);
        let (caller, who) = (peer.clone(), peer.who());
        let set = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.set_pool(&name, switching, &who)
        });
        Ok(v1::SetPoolResponse { pool: Some(pool(set.await.map_err(|e| status(&e))?)) })
    }

    pub(super) async fn rotate_key(&self, peer: &Peer) -> Result<v1::RotateVaultKeyResponse, Status> {
        let rotated = self.store.rotate_vault(peer.who()).await.map_err(|e| status(&e))?;
        Ok(v1::RotateVaultKeyResponse {
            entries: u32::try_from(rotated.entries).unwrap_or(u32::MAX),
            key_id: rotated.key.to_string(),
        })
    }

    pub(super) async fn check_account(
        &self,
        request: v1::TestAccountRequest,
    ) -> Result<v1::TestAccountResponse, Status> {
        let alias = alias(&request.alias)?;
        let state = self.account_state(&alias).await?;
        let pool = self.store.pools(Some(state.account.pool.clone())).await.map_err(|e| status(&e))?.pop();
        let mut checks = match self.accounts.credentials(&alias).await {
            Ok(credentials) => {
                let detail = format!("{} of its entries open", state.fields.len());
                let vault = check("vault", true, detail);
                std::iter::once(vault).chain(checks_of(&state.account, &credentials)).collect()
            }
            Err(error) => vec![check("vault", false, error.to_string())],
        };
        let now = clock::now();
        let (word, reason, _) = standing(&state, now);
        checks.push(check("state", matches!(word, "ready" | "leased"), format!("{word}: {reason}")));
        let switching = pool.is_some_and(|pool| pool.switching);
        let pool = &state.account.pool;
        let words = if switching {
            format!("pool {pool}: on")
        } else {
            format!(
                "pool {pool}: off: panes are not switched to it before `wa account pool set {pool} --switching on`"
            )
        };
        // It is off until somebody turns it on, who may look here first.
        checks.push(v1::AccountCheck { note: !switching, ..check("switching", true, words) });
        for HomeRow { host, signed_in } in &state.homes {
            let detail = match signed_in {
                Some(true) => "was signed in when it was last seen",
                Some(false) => "is not signed in",
                None => "it is not known whether it is signed in",
            };
            checks.push(check(&format!("home {host}"), *signed_in != Some(false), detail.to_owned()));
        }
        Ok(v1::TestAccountResponse { checks })
    }

    pub(super) async fn switch_pane(
        &self,
        peer: &Peer,
        request: v1::SwitchAccountRequest,
    ) -> Result<v1::SwitchAccountResponse, Status> {
        let pane = address(peer, request.pane.ok_or_else(|| usage("pane is missing"))?)?;
        let view = if request.dry_run { self.pane(&pane)? } else { self.pane_here(&pane)? };
        let wanted = match request.alias.as_str() {
            "" => None,
            text => Some(self.account_state(&alias(text)?).await?.account.alias),
        };
        let asked =
            self.store.account_choice(view.host.clone(), view.pane.clone(), wanted.clone(), clock::now());
        let Some((pool, choice)) = asked.await.map_err(|e| status(&e))? else {
            let message = format!("no known agent runs in {pane}: there is nothing to switch");
            return Err(ErrorCode::Refused.status(message));
        };
        if !pool.switching {
            return Err(ErrorCode::Refused.status(pool.switching_off()));
        }
        let begin = choice.account.is_some() && !request.dry_run;
        let choice = Some(told_choice(choice));
        if !begin {
            return Ok(v1::SwitchAccountResponse { run: None, choice });
        }
        let PaneView { host, pane, .. } = view;
        // A known agent runs there: it was chosen for.
        let workflow = format!("{}-account-switch", pane.agent.as_ref().map_or("", AgentKind::as_str));
        let by_hand = ByHand {
            workflow: &workflow,
            host,
            pane: pane.pane,
            agent: pane.agent,
            agent_version: pane.agent_version,
            agent_pid: pane.agent_pid,
            wanted,
        };
        let run = self.begin_by_hand(peer, by_hand).await?;
        Ok(v1::SwitchAccountResponse { run, choice })
    }

    pub(super) async fn sign_in_account(
        &self,
        peer: &Peer,
        request: v1::LoginAccountRequest,
    ) -> Result<v1::LoginAccountResponse, Status> {
        let host = Host::new(request.host.as_str()).map_err(usage)?;
        let account = self.account_state(&alias(&request.alias)?).await?.account;
        let refuse = |why: String| Err(ErrorCode::Refused.status(why));
        if account.disabled {
            return refuse(format!("{} is disabled: enable it first", account.alias));
        }
        if account.sign_in == SignIn::ApiKey {
            return refuse(format!("{} signs in by its key: there is nothing to do", account.alias));
        }
        let pane = self.shell_on(peer, &host).await?;
        let by_hand = ByHand {
            workflow: "account-login",
            host,
            pane: pane.pane.pane,
            agent: Some(account.agent),
            agent_version: String::new(),
            agent_pid: 0,
            wanted: Some(account.alias),
        };
        Ok(v1::LoginAccountResponse { run: self.begin_by_hand(peer, by_hand).await? })
    }

    /// A new pane with a shell, once its node shows it.
    async fn shell_on(&self, peer: &Peer, host: &Host) -> Result<PaneView, Status> {
        let command = SHELL.map(str::to_owned).to_vec();
        let spawn = v1::ActRequest {
            host: host.to_string(),
            verb: Some(v1::act_request::Verb::Spawn(v1::SpawnPane { command, ..v1::SpawnPane::default() })),
            ..v1::ActRequest::default()
        };
        let spawned = Box::pin(self.carry_out(peer, spawn)).await?;
        let made = spawned.pane.filter(|_| spawned.outcome == OutcomeKind::Submitted.as_str());
        let Some(made) = made else {
            let message = format!("no pane for the sign-in: {}: {}", spawned.outcome, spawned.reason);
            return Err(ErrorCode::Refused.status(message));
        };
        let made = PaneAddress::try_from(made).map_err(usage)?;
        let deadline = clock::monotonic() + SHOWN_WITHIN;
        let mut changed = self.registry.changed();
        loop {
            if let Some(view) = self.registry.pane(&made).filter(|view| view.connected) {
                return Ok(view);
            }
            if !changed_before(&mut changed, deadline).await {
                let message = format!("the pane {made} was made, and its node has not shown it: try again");
                return Err(ErrorCode::Unreachable.status(message));
            }
        }
    }
}

// ---- what comes in

/// The alias as it is also used for directories and in texts that are typed.
fn alias(text: &str) -> Result<AccountAlias, Status> {
    word("alias", text)?;
    AccountAlias::new(text).map_err(usage)
}

fn pool_name(text: &str) -> Result<String, Status> {
    let name = if text.is_empty() { DEFAULT_POOL } else { text };
    word("pool", name)?;
    Ok(name.to_owned())
}

fn word(what: &str, text: &str) -> Result<(), Status> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() {
        return Err(usage(format!("{what} is missing")));
    }
    if text.len() > MAX_ALIAS || text.starts_with('-') || !text.chars().all(sound) {
        let shown: String = text.chars().take(MAX_ALIAS).collect();
        return Err(usage(format!(
            "{what} {shown:?}: a-z, 0-9 and '-' only, at most {MAX_ALIAS}, not beginning with '-'"
        )));
    }
    Ok(())
}

fn max_panes(count: u32) -> Result<u32, Status> {
    if count > MAX_PANES {
        return Err(usage(format!("max_panes: at most {MAX_PANES}; 0 is any number")));
    }
    Ok(count)
}

fn hosts(list: Vec<String>) -> Result<Vec<String>, Status> {
    if list.len() > MAX_HOSTS {
        return Err(usage(format!("default_hosts: at most {MAX_HOSTS}")));
    }
    for host in list.iter().filter(|host| *host != "*") {
        Host::new(host.as_str()).map_err(|e| usage(format!("default_hosts: {e}")))?;
    }
    Ok(list.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
}

/// Checked, and held so that it is wiped. What is wrong is named, never shown.
fn credentials(given: v1::Credentials) -> Result<Credentials, Status> {
    let v1::Credentials { username, password, one_time_secret, api_key } = given;
    let secret = |text: String| Some(Zeroizing::new(text)).filter(|text| !text.is_empty());
    let (password, one_time_secret, api_key) = (secret(password), secret(one_time_secret), secret(api_key));
    let username = Some(username).filter(|text| !text.is_empty());
    let lengths = [
        ("username", username.as_deref(), MAX_USERNAME),
        ("password", password.as_ref().map(|text| text.as_str()), MAX_PASSWORD),
        ("one_time_secret", one_time_secret.as_ref().map(|text| text.as_str()), one_time::MAX_SECRET),
        ("api_key", api_key.as_ref().map(|text| text.as_str()), MAX_API_KEY),
    ];
    for (name, text, most) in lengths {
        let Some(text) = text else { continue };
        if text.len() > most {
            return Err(usage(format!("{name}: at most {most} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(usage(format!(
                "{name}: it has a control character in it, perhaps the end of its line"
            )));
        }
        if name != "password" && text.trim() != text {
            return Err(usage(format!("{name}: it begins or ends with a blank")));
        }
    }
    if let Some(secret) = &one_time_secret {
        one_time::check(secret).map_err(|e| usage(format!("one_time_secret: {e}")))?;
    }
    Ok(Credentials { username, password, one_time_secret, api_key })
}

fn names_of(credentials: &Credentials) -> BTreeSet<&str> {
    credentials.fields().map(|(name, _)| name).collect()
}

/// How it signs in: as it was said, else as the credentials allow that are `held`.
fn sign_in(text: &str, agent: &str, held: &BTreeSet<&str>) -> Result<SignIn, Status> {
    let way = match text {
        "" if held.contains("api_key") => SignIn::ApiKey,
        "" if held.contains("username") || held.contains("password") => SignIn::DeviceCode,
        "" => {
            return Err(usage(
                "the credentials are empty: give username and password, or api_key, or say sign_in manual",
            ));
        }
        text => SignIn::parse(text).ok_or_else(|| {
            usage(format!("sign_in {text:?}: one of {}", SignIn::ALL.map(SignIn::as_str).join(", ")))
        })?,
    };
    let needed: &[&str] = match way {
        SignIn::DeviceCode if agent != "codex" => {
            return Err(usage(format!(
                "{agent} does not sign in by a device code: say sign_in manual, or give api_key"
            )));
        }
        SignIn::DeviceCode => &["username", "password"],
        SignIn::ApiKey => &["api_key"],
        SignIn::Manual => &[],
    };
    match needed.iter().find(|name| !held.contains(**name)) {
        Some(name) => Err(usage(format!("{name} is missing: sign_in {} needs it", way.as_str()))),
        None => Ok(way),
    }
}

fn unknown(alias: &AccountAlias) -> Status {
    ErrorCode::NotFound.status(format!("there is no account {alias}; `wa account list` has them"))
}

/// The store only says that it found none.
fn no_account(alias: &AccountAlias, error: &Status) -> Status {
    if error.code() == tonic::Code::NotFound { unknown(alias) } else { error.clone() }
}

// ---- what goes out

fn pool(row: PoolRow) -> v1::Pool {
    v1::Pool { name: row.name, switching: row.switching, accounts: row.accounts }
}

fn window(window: Window) -> v1::AccountWindow {
    v1::AccountWindow {
        window: window.window,
        model: window.model,
        percent_used: window.percent_used,
        resets_us: optional_us(window.resets),
        observed_us: to_us(window.observed),
        reached: window.reached,
    }
}

/// How an account stands: a word, why, and until when.
fn standing(state: &AccountState, now: Timestamp) -> (&'static str, String, Option<Timestamp>) {
    let AccountState { account, leases, windows, homes, .. } = state;
    if account.disabled {
        return ("disabled", "by an admin".to_owned(), None);
    }
    let of_all: Vec<Window> = windows.iter().filter(|window| window.model.is_empty()).cloned().collect();
    if let Some((until, why)) = choice::blocked(&of_all, "", now) {
        let word = if of_all.iter().any(|window| window.reached) { "cooling" } else { "exhausted" };
        return (word, why, Some(until));
    }
    if !homes.is_empty() && homes.iter().all(|home| home.signed_in == Some(false)) {
        return ("signed_out", "none of its homes is signed in".to_owned(), None);
    }
    let of_models = choice::blocked(windows, "", now).map(|(_, why)| format!("; {why}")).unwrap_or_default();
    match leases.len() {
        0 => ("ready", format!("no pane was switched to it{of_models}"), None),
        1 => ("leased", format!("in use in one pane{of_models}"), None),
        count => ("leased", format!("in use in {count} panes{of_models}"), None),
    }
}

/// `own`: what concerns hosts of this one alone.
fn account(state: AccountState, own: Option<&Host>, now: Timestamp) -> v1::Account {
    let (word, reason, until) = standing(&state, now);
    let AccountState { account, fields, leases, windows, homes } = state;
    let visible = |host: &Host| own.is_none_or(|own| own == host);
    let named = |host: &String| host == "*" || own.is_none_or(|own| own.as_str() == host);
    let lease = |lease: crate::store::LeaseRow| v1::Lease {
        host: lease.host.into(),
        pane: Some(lease.pane.into()),
        run_id: lease.run.to_string(),
        since_us: to_us(lease.since),
    };
    v1::Account {
        alias: account.alias.to_string(),
        agent: account.agent.to_string(),
        pool: account.pool,
        sign_in: account.sign_in.as_str().to_owned(),
        provider: account.provider,
        state: word.to_owned(),
        reason,
        until_us: optional_us(until),
        max_panes: account.max_panes,
        default_hosts: account.default_hosts.into_iter().filter(named).collect(),
        leases: leases.into_iter().filter(|lease| visible(&lease.host)).map(lease).collect(),
        windows: windows.into_iter().map(window).collect(),
        credentials: fields,
        homes: homes.iter().filter(|home| visible(&home.host)).map(|home| home.host.to_string()).collect(),
        last_used_us: optional_us(account.last_used),
    }
}

fn told_choice(choice: Choice) -> v1::AccountChoice {
    let verdict = |verdict: choice::Verdict| v1::AccountVerdict {
        alias: verdict.alias.to_string(),
        usable: verdict.usable,
        reason: verdict.reason,
    };
    v1::AccountChoice {
        alias: choice.account.map(|alias| alias.to_string()).unwrap_or_default(),
        reason: choice.reason,
        earliest_us: optional_us(choice.earliest),
        considered: choice.considered.into_iter().map(verdict).collect(),
    }
}

fn check(name: &str, ok: bool, detail: String) -> v1::AccountCheck {
    v1::AccountCheck { name: name.to_owned(), ok, detail, note: false }
}

/// What the way in which the account signs in needs.
fn checks_of(account: &AccountRow, credentials: &Credentials) -> Vec<v1::AccountCheck> {
    let there =
        |name: &str, is: bool, without: &str| check(name, is, if is { "there" } else { without }.to_owned());
    let mut checks = match account.sign_in {
        SignIn::DeviceCode => vec![
            there("username", credentials.username.is_some(), "missing: a person must enter it"),
            there("password", credentials.password.is_some(), "missing: a person must enter it"),
        ],
        SignIn::ApiKey => vec![there("api_key", credentials.api_key.is_some(), "missing")],
        SignIn::Manual => {
            vec![check(
                "sign_in",
                true,
                format!("by a person: `wa account login {} --host HOST`", account.alias),
            )]
        }
    };
    if let Some(secret) = &credentials.one_time_secret {
        let made = one_time::one_time_code(secret, clock::now());
        let detail = made.as_ref().map_or_else(ToString::to_string, |_| "codes can be made".to_owned());
        checks.push(check("one_time_secret", made.is_ok(), detail));
    } else if account.sign_in == SignIn::DeviceCode {
        let detail = "none: a person is asked where the provider wants a code".to_owned();
        checks.push(check("one_time_secret", true, detail));
    }
    checks
}

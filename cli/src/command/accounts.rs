//! `wa account` and `wa switch-account`.
//!
//! Credentials are read, or asked for, before there is a runtime and a connection, for that blocks; the context is looked
//! up before, so that nobody types a password for nothing.

use wa_proto::AccountAlias;
use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args::{Account, AddAccount, Pool, SignIn, SwitchAccount, Switching, UpdateAccount};
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::shape::{AccountItem, AccountShown, CheckItem, PoolItem, RunItem, Switch, VaultKey};
use crate::{prompt, secrets};

/// What is wrong with the line.
pub(crate) fn check(command: &Account) -> Result<(), Failure> {
    match command {
        Account::Update(args) if args.is_nothing() => Err(Failure::usage(format!(
            "nothing to change: give {} --pool, --sign-in, --max-panes, --username, --default-on, --no-default \
             or --credentials-file",
            args.alias
        ))),
        Account::Remove { alias, yes: false } if !prompt::can_ask() => {
            Err(Failure::usage(format!("no terminal to ask whether {alias} may go"))
                .remedy(format!("say so: wa account remove {alias} --yes")))
        }
        _ => Ok(()),
    }
}

/// Reads or asks for what a command needs from a person. Called before there is a runtime, for it blocks.
pub(crate) fn gather(command: &mut Account) -> Result<(), Failure> {
    match command {
        Account::Add(args) => secrets::gather(&mut args.given, args.username.as_deref(), args.sign_in, true),
        Account::Update(args) => {
            secrets::gather(&mut args.given, args.username.as_deref(), args.sign_in, false)
        }
        Account::Remove { alias, yes: false } => {
            let question = format!("Forget the account {alias}, with its credentials?");
            match prompt::confirm(&question)? {
                true => Ok(()),
                false => Err(Failure::new(Exit::Refused, format!("{alias} stays"))),
            }
        }
        _ => Ok(()),
    }
}

pub(super) async fn account(desk: &mut Desk<'_>, command: &Account) -> Result<Exit, Failure> {
    match command {
        Account::Add(args) => add(desk, args).await,
        Account::List { pool } => list(desk, pool.as_deref().unwrap_or_default()).await,
        Account::Show { alias } => show(desk, alias).await,
        Account::Update(args) => change(desk, wanted(args)).await,
        Account::Login { alias, host } => login(desk, alias, host.as_str()).await,
        Account::Disable { alias } => change(desk, switched(alias, true)).await,
        Account::Enable { alias } => change(desk, switched(alias, false)).await,
        Account::Remove { alias, .. } => remove(desk, alias).await,
        Account::Test { alias } => test(desk, alias).await,
        Account::Rotate => rotate(desk).await,
        Account::Pool(Pool::List) => pools(desk).await,
        Account::Pool(Pool::Set { name, switching }) => set_pool(desk, name, *switching).await,
    }
}

async fn add(desk: &mut Desk<'_>, args: &AddAccount) -> Result<Exit, Failure> {
    let by_hand = args.given.credentials.is_empty().then_some(SignIn::Manual);
    let request = v1::AddAccountRequest {
        alias: args.alias.to_string(),
        agent: args.agent.as_str().to_owned(),
        pool: args.pool.clone().unwrap_or_default(),
        sign_in: args.sign_in.or(by_hand).map(|how| how.as_str().to_owned()).unwrap_or_default(),
        credentials: Some(args.given.credentials.wire(args.username.as_deref())),
        default_hosts: args.default_on.clone(),
        max_panes: args.max_panes,
        provider: args.provider.clone().unwrap_or_default(),
    };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().add_account(request)).await?;
    print(desk, answer.account)?;
    if args.given.credentials.is_empty() {
        let alias = &args.alias;
        say(&format!(
            "{alias} has no credentials: a person signs in (`wa account login {alias} --host HOST`), or \
             `wa account update {alias} --credentials-file FILE --sign-in HOW` brings them"
        ));
    }
    Ok(Exit::Done)
}

fn print(desk: &mut Desk<'_>, account: Option<v1::Account>) -> Result<(), Failure> {
    let account =
        account.ok_or_else(|| Failure::failed("the controller did not say how the account stands"))?;
    desk.out.one(&AccountItem::try_from(account)?)
}

async fn all(desk: &Desk<'_>, pool: &str) -> Result<v1::ListAccountsResponse, Failure> {
    let session = &desk.session;
    let request = v1::ListAccountsRequest { pool: pool.to_owned() };
    session.call(session.within(ANSWER), session.fleet().list_accounts(request)).await
}

async fn list(desk: &mut Desk<'_>, pool: &str) -> Result<Exit, Failure> {
    let answer = all(desk, pool).await?;
    let items: Vec<AccountItem> =
        answer.accounts.into_iter().map(AccountItem::try_from).collect::<Result<_, _>>()?;
    desk.out.list(&items)?;
    if items.is_empty() {
        say(match pool {
            "" => "no accounts yet: `wa account add` puts yours into a pool",
            _ => "no account in this pool",
        });
    }
    Ok(Exit::Done)
}

async fn show(desk: &mut Desk<'_>, alias: &AccountAlias) -> Result<Exit, Failure> {
    let found = all(desk, "").await?.accounts.into_iter().find(|account| account.alias == alias.as_str());
    let found = found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no account {alias}"))
            .remedy("`wa account list` has them")
    })?;
    desk.out.one(&AccountShown(found.try_into()?))?;
    Ok(Exit::Done)
}

fn wanted(args: &UpdateAccount) -> v1::UpdateAccountRequest {
    let hosts = v1::HostList { hosts: args.default_on.clone() };
    let credentials = args.given.credentials_file.is_some() || args.username.is_some();
    v1::UpdateAccountRequest {
        alias: args.alias.to_string(),
        pool: args.pool.clone(),
        sign_in: args.sign_in.map(|how| how.as_str().to_owned()),
        max_panes: args.max_panes,
        default_hosts: (args.no_default || !args.default_on.is_empty()).then_some(hosts),
        credentials: credentials.then(|| args.given.credentials.wire(args.username.as_deref())),
        ..v1::UpdateAccountRequest::default()
    }
}

fn switched(alias: &AccountAlias, disabled: bool) -> v1::UpdateAccountRequest {
    v1::UpdateAccountRequest {
        alias: alias.to_string(),
        disabled: Some(disabled),
        ..v1::UpdateAccountRequest::default()
    }
}

async fn update(desk: &Desk<'_>, request: v1::UpdateAccountRequest) -> Result<Option<v1::Account>, Failure> {
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().update_account(request)).await?;
    Ok(answer.account)
}

async fn change(desk: &mut Desk<'_>, request: v1::UpdateAccountRequest) -> Result<Exit, Failure> {
    let account = update(desk, request).await?;
    print(desk, account)?;
    Ok(Exit::Done)
}

async fn remove(desk: &mut Desk<'_>, alias: &AccountAlias) -> Result<Exit, Failure> {
    let request = v1::UpdateAccountRequest {
        alias: alias.to_string(),
        remove: true,
        ..v1::UpdateAccountRequest::default()
    };
    update(desk, request).await?;
    say(&format!("{alias} is forgotten; what hosts keep of it (DIR/accounts/{alias}) is theirs to delete"));
    Ok(Exit::Done)
}

async fn login(desk: &mut Desk<'_>, alias: &AccountAlias, host: &str) -> Result<Exit, Failure> {
    let request = v1::LoginAccountRequest { alias: alias.to_string(), host: host.to_owned() };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().login_account(request)).await?;
    let run = answer.run.ok_or_else(|| Failure::failed("the controller did not name the run it began"))?;
    let run = RunItem::try_from(run)?;
    desk.out.one(&run)?;
    let pane = run.pane.as_deref().unwrap_or("PANE");
    say(&format!("the code and its address, where a person is needed: `wa show {pane} --reveal`"));
    say(&format!("how it goes: `wa run explain {}`", run.run));
    Ok(Exit::Done)
}

async fn test(desk: &mut Desk<'_>, alias: &AccountAlias) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::TestAccountRequest { alias: alias.to_string() };
    let answer = session.call(session.within(ANSWER), session.fleet().test_account(request)).await?;
    let checks: Vec<CheckItem> = answer.checks.into_iter().map(CheckItem::from).collect();
    desk.out.list(&checks)?;
    Ok(if checks.iter().all(|check| check.ok != Some(false)) { Exit::Done } else { Exit::Failed })
}

async fn rotate(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let session = &desk.session;
    let mut fleet = session.fleet();
    let asked = fleet.rotate_vault_key(v1::RotateVaultKeyRequest {});
    let answer = session.call(session.within(ANSWER), asked).await?;
    desk.out.one(&VaultKey::from(answer))?;
    Ok(Exit::Done)
}

async fn pools(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let items: Vec<PoolItem> = all(desk, "").await?.pools.into_iter().map(PoolItem::from).collect();
    desk.out.list(&items)?;
    if items.is_empty() {
        say("no pools yet: `wa account add` makes one");
    }
    Ok(Exit::Done)
}

async fn set_pool(desk: &mut Desk<'_>, name: &str, switching: Switching) -> Result<Exit, Failure> {
    let request = v1::SetPoolRequest { name: name.to_owned(), switching: switching == Switching::On };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().set_pool(request)).await?;
    let pool =
        answer.pool.ok_or_else(|| Failure::failed("the controller did not say how the pool stands"))?;
    desk.out.one(&PoolItem::from(pool))?;
    Ok(Exit::Done)
}

pub(super) async fn switch(desk: &mut Desk<'_>, args: &SwitchAccount) -> Result<Exit, Failure> {
    let request = v1::SwitchAccountRequest {
        pane: Some(args.pane.clone().into()),
        alias: args.to.as_ref().map(ToString::to_string).unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().switch_account(request)).await?;
    let switch = Switch::of(args.pane.to_string(), args.dry_run, answer)?;
    desk.out.one(&switch)?;
    if let Some(problem) = switch.problem() {
        say(&format!("wa: {problem}"));
    }
    Ok(switch.exit())
}

//! Which root accounts are read, and who the token belongs to.

use fedaudit_core::{Context, Error, ErrorKind, Result, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Api, encode};
use crate::walk::Circle;
use crate::wire::Scalar;

/// A root account to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// What stands in the path: its id where known, else as configured.
    pub(crate) path: String,
    /// Its id, the `tenant` of its rows; unknown where the account itself may not be read.
    pub(crate) id: Option<String>,
    /// What the product says of the account's identity.
    pub(crate) fingerprint: Option<String>,
}

/// The user that the token acts for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) server_time: Option<Time>,
}

#[derive(Deserialize)]
pub(crate) struct AccountObject<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    root_account_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    uuid: Option<Scalar<'a>>,
    #[serde(borrow)]
    lti_guid: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Identified<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    workflow_state: Option<&'a RawValue>,
}

impl Identified<'_> {
    pub(crate) fn id(&self) -> &str {
        self.id.text()
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.workflow_state.is_some_and(|state| state.get() == r#""deleted""#)
    }
}

#[derive(Deserialize)]
pub(crate) struct UserObject<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    login_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    name: Option<Scalar<'a>>,
}

/// Resolves the configured names to root accounts, each once.
pub(crate) async fn resolve(cx: &Context, api: &Api, configured: &[String]) -> Result<Vec<Account>> {
    let mut accounts: Vec<Account> = Vec::new();
    for name in configured {
        let found = if name == "all" { every(cx, api).await? } else { vec![one(cx, api, name).await?] };
        for account in found {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
    }
    Ok(accounts)
}

async fn one(cx: &Context, api: &Api, name: &str) -> Result<Account> {
    let response = match api.get(cx, &format!("/api/v1/accounts/{}", encode(name))).await {
        Ok(response) => response,
        // The audit log may be readable where the account object is not: the log accepts the same names.
        Err(error) if error.kind() == ErrorKind::Denied => {
            let id = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.to_owned());
            return Ok(Account { path: name.to_owned(), id, fingerprint: None });
        }
        Err(error) => return Err(error),
    };
    let object: AccountObject<'_> = parse(&response.body)?;
    if let Some(root) = object.root_account_id {
        return Err(Error::new(ErrorKind::Config, format!("account '{name}' is a sub-account"))
            .hint(format!("login activity is kept by root accounts: write accounts = [\"{}\"]", root.text())));
    }
    Account::of(&object).ok_or_else(|| Error::new(ErrorKind::Malformed, format!("account '{name}' has no id")))
}

/// Every root account that the token administers. Without such an account Canvas answers with an empty list.
async fn every(cx: &Context, api: &Api) -> Result<Vec<Account>> {
    let accounts: Vec<Account> = all(cx, api, "/api/v1/accounts?per_page=100", |object| {
        if object.root_account_id.is_none() { Account::of(object) } else { None }
    })
    .await?;
    if accounts.is_empty() {
        return Err(Error::new(ErrorKind::Denied, "the token administers no root account")
            .hint("give its user an administrator role in the root account, with 'Statistics - view'"));
    }
    Ok(accounts)
}

/// Ids of every account below one.
pub(crate) async fn below(cx: &Context, api: &Api, account: &str) -> Result<Vec<String>> {
    let path = format!("/api/v1/accounts/{}/sub_accounts?recursive=true&per_page=100", encode(account));
    all(cx, api, &path, |object| object.id.as_ref().map(|id| id.text().to_owned())).await
}

/// A whole list of accounts.
async fn all<T>(
    cx: &Context,
    api: &Api,
    first: &str,
    pick: impl Fn(&AccountObject<'_>) -> Option<T>,
) -> Result<Vec<T>> {
    let mut picked = Vec::new();
    let mut path = first.to_owned();
    let mut circle = Circle::default();
    loop {
        let response = api.get(cx, &path).await?;
        let objects: Vec<AccountObject<'_>> = parse(&response.body)?;
        picked.extend(objects.iter().filter_map(&pick));
        let Some(next) = api.next(&response)? else { return Ok(picked) };
        circle.step(&next)?;
        path = next;
    }
}

/// The ids in one page of a list of objects, and where the next page is.
pub(crate) async fn ids(cx: &Context, api: &Api, path: &str) -> Result<(Vec<String>, Option<String>)> {
    listed(cx, api, path, |object| object.id().to_owned()).await
}

/// What is picked of each object in one page of a list, and where the next page is.
pub(crate) async fn listed<T>(
    cx: &Context,
    api: &Api,
    path: &str,
    pick: impl Fn(&Identified<'_>) -> T,
) -> Result<(Vec<T>, Option<String>)> {
    let response = api.get(cx, path).await?;
    let objects: Vec<Identified<'_>> = parse(&response.body)?;
    Ok((objects.iter().map(pick).collect(), api.next(&response)?))
}

impl Account {
    fn of(object: &AccountObject<'_>) -> Option<Self> {
        let id = object.id.as_ref()?.text().to_owned();
        let guid = object
            .uuid
            .as_ref()
            .or(object.lti_guid.as_ref())
            .map_or_else(|| format!("account {id}"), |g| g.text().to_owned());
        Some(Self { path: id.clone(), id: Some(id), fingerprint: Some(guid) })
    }
}

/// Asks who we are. A token whose scopes do not cover the question still reads the log, so only a refused token is an error.
pub(crate) async fn reader(cx: &Context, api: &Api) -> Result<Reader> {
    let response = match api.get(cx, "/api/v1/users/self").await {
        Ok(response) => response,
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => return Ok(Reader::default()),
        Err(error) => return Err(error),
    };
    let user: UserObject<'_> = parse(&response.body)?;
    let text = |scalar: &Scalar<'_>| scalar.text().to_owned();
    Ok(Reader {
        id: user.id.as_ref().map(text),
        name: user.login_id.as_ref().or(user.name.as_ref()).map(text),
        server_time: response.server_time(),
    })
}

pub(crate) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}")))
}

//! One certificate, from the order to the file.

use crate::http::Client;
use crate::{Challenge, Host, Options, Store, Wanted, make};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use sluice_tls::Identity;
use sluice_tls::rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;

/// For the authority to look at challenges, and to issue.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is to be answered to challenges.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Tokens and key authorizations (RFC 8555 8.3).
    pub http: Vec<(String, String)>,
    /// Names and certificates (RFC 8737 3).
    pub tls: Vec<(String, Arc<CertifiedKey>)>,
}

/// Places orders.
pub(crate) struct Issuer {
    options: Options,
    store: Store,
    host: Arc<dyn Host>,
    account: Option<Account>,
}

impl Issuer {
    pub(crate) fn new(options: Options, store: Store, host: Arc<dyn Host>) -> Self {
        Self { options, store, host, account: None }
    }

    /// Has a certificate issued and keeps it.
    pub(crate) async fn obtain(&mut self, wanted: &Wanted) -> Result<Identity, String> {
        let account = self.account().await?;
        let chain = self.order(&account, wanted).await;
        if let Err(Failure::Unknown) = chain {
            // A test authority that was started anew, or an account that was closed.
            self.account = None;
            self.store.forget_account();
        }
        let (key, chain) = chain.map_err(Failure::told)?;
        self.store.put_certificate(&wanted.name, &format!("{key}{chain}"))?;
        let identity = self.store.identity(&wanted.name)?;
        identity.ok_or_else(|| "the certificate was not kept".to_owned())
    }

    /// The account that is known, or kept, or a new one.
    async fn account(&mut self) -> Result<Account, String> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let builder = Account::builder_with_http(Box::new(Client(Arc::clone(&self.options.tls))));
        let account = match self.store.account()? {
            Some(text) => {
                let kept: AccountCredentials = serde_json::from_str(&text)
                    .map_err(|error| format!("the stored account can't be read: {error}"))?;
                builder.from_credentials(kept).await.map_err(|error| error.to_string())?
            }
            None => {
                let contact: Vec<&str> = self.options.contact.iter().map(String::as_str).collect();
                // The configuration is refused without consent to the terms.
                let new = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let directory = self.options.directory.clone();
                let (account, credentials) =
                    builder.create(&new, directory, None).await.map_err(|error| error.to_string())?;
                let text = serde_json::to_string(&credentials).map_err(|error| error.to_string())?;
                self.store.put_account(&text)?;
                account
            }
        };
        self.account = Some(account.clone());
        Ok(account)
    }

    /// The key and the chain, both in PEM.
    async fn order(&self, account: &Account, wanted: &Wanted) -> Result<(String, String), Failure> {
        let identifiers: Vec<_> = wanted.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        self.meet(&mut order, wanted.challenge).await?;
        let retries = RetryPolicy::new().timeout(PATIENCE);
        if order.poll_ready(&retries).await? != OrderStatus::Ready {
            return Err(Failure::Other(refusal(&mut order).await));
        }
        let (key, request) = make::request(&wanted.names).map_err(Failure::Other)?;
        order.finalize_csr(&request).await?;
        Ok((key, order.poll_certificate(&retries).await?))
    }

    /// Presents the answer to one challenge for each name, and says so.
    async fn meet(&self, order: &mut Order, challenge: Challenge) -> Result<(), Failure> {
        let kind = match challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut answers = Answers::default();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                // Proven lately.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(Failure::Other(format!("an authorization is {other:?} from the start"))),
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                return Err(Failure::Other(format!("the authority offers no {kind:?} challenge")));
            };
            let proof = challenge.key_authorization();
            if kind == ChallengeType::Http01 {
                answers.http.push((challenge.token.clone(), proof.as_str().to_owned()));
            } else {
                let name = challenge.identifier().to_string();
                let made = make::challenge_certificate(&name, proof.digest().as_ref());
                answers.tls.push((name, Arc::new(made.map_err(Failure::Other)?)));
            }
            self.host.present(answers.clone()).await;
            challenge.set_ready().await?;
        }
        Ok(())
    }
}

/// Why an order became invalid: what the authority says of the challenges.
async fn refusal(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_ok()
            && let Some(problem) = authorization.challenges.iter().find_map(|c| c.error.as_ref())
        {
            return format!("{}: {problem}", authorization.identifier());
        }
    }
    "the authority finds the order invalid, and does not say why".to_owned()
}

enum Failure {
    /// The authority does not know the account.
    Unknown,
    Other(String),
}

impl Failure {
    fn told(self) -> String {
        match self {
            Self::Unknown => {
                "the authority does not know our account any more: a new one comes next".to_owned()
            }
            Self::Other(why) => why,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Api(problem)
                if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist") =>
            {
                Self::Unknown
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

//! What is hidden, and what stays. In each example, `‹›` stand around what must be hidden.

use super::{hide, is_name};

const GOES: &[&str] = &[
    // Variables and settings.
    "MYSQL_PWD=‹hunter2›",
    "export PGPASSWORD=‹hunter 2; x›",
    "IRIS_PASSWORD='‹s3cret›' next",
    "REDISCLI_AUTH=‹aHVudGVyMg==›",
    "SMTP_PASS=‹hunter2›",
    "Environment=DB_PASSWORD=‹a,b&c›",
    "AWS_SECRET_ACCESS_KEY=‹wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY›",
    "aws_access_key_id = ‹AKIAIOSFODNN7EXAMPLE›",
    "ModifyUser:Name=x,Password=‹hunter2›,Enabled=1",
    "PasswordHash=‹aa,bb,10000,SHA512›\nWebServer=1",
    "Server=db;UID=sa;PWD=‹hunter2›;Port=1",
    "//registry.npmjs.org/:_authToken=‹npm_abcdef›",
    // Options.
    "--pass=‹hunter2›",
    "tool --password ‹hunter2› --verbose",
    "tool --token \"‹two words›\" x",
    "tool -passphrase ‹hunter2›",
    "\"args\": [\"--api-key\", \"‹hunter2›\", \"-v\"]",
    "mysql -u root -p‹hunter2› db",
    "sshpass -p ‹hunter2› ssh host",
    "docker login -u me -p ‹hunter2› registry.local",
    "openssl rsa -passin pass:‹hunter2› -in k.pem",
    "curl -s -u me:‹hunter2› http://host/x",
    "ctr images pull --user me:‹hunter2› docker.io/x",
    // JSON, YAML, TOML.
    "{\"token\": \"‹abc.def›\", \"x\": 1}",
    "{\"password\":\"‹a \\\"quoted\\\" one›\",\"x\":1}",
    "{\"log\":\"{\\\"client_secret\\\":\\\"‹hunter2›\\\",\\\"x\\\":1}\"}",
    "{\"auths\":{\"docker.io\":{\"auth\":\"‹bWU6aHVudGVyMg==›\"}}}",
    "    client-key-data: ‹LS0tLS1C›\n    x: 1",
    "spec:\n  password: ‹correct horse battery›\n  x: 1",
    "data:\n  password: |\n    ‹first\n    second›\n  x: 1",
    "- name: DB_PASSWORD\n  value: ‹hunter2›\n- name: TZ\n  value: UTC",
    "{\"name\":\"MYSQL_PWD\",\"value\":\"‹hunter2›\"},{\"name\":\"TZ\",\"value\":\"UTC\"}",
    "  auth = \"‹bWU6aHVudGVyMg==›\"",
    "identitytoken = \"‹abc›\"",
    "machine host login me password ‹hunter2›",
    // Headers and addresses.
    "Authorization: Bearer ‹eyJhb.c-d_e›",
    "authorization: Basic ‹bWU6aHVudGVyMg==›",
    "curl -H 'Authorization: Token ‹abc def›' http://host",
    "{\"Authorization\":\"Bearer ‹abc.def›\",\"x\":1}",
    "Authorization: Macaroon root=‹\"MDAxYQ\", discharge=\"MDAyYg\"›",
    "X-Auth-Token: ‹hunter2›",
    "Set-Cookie: ‹session=hunter2; Path=/›",
    "sent bearer ‹abcdef0123456789abcdef› to host",
    "HTTPS_PROXY=http://‹me:secret1›@proxy:3128",
    "https://‹ghp0123token›@host/path",
    "http://‹me:p@ss:w@rd›@proxy:3128/ x@y",
    "postgres://‹u:p#1?x›@db/name",
    "https://host/o?x-amz-signature=‹0abc›&x=1",
    // Forms.
    "a\n‹-----BEGIN RSA PRIVATE KEY-----\nMIIE\nx==\n-----END RSA PRIVATE KEY-----›\nb",
    "\"key\": \"‹-----BEGIN OPENSSH PRIVATE KEY-----\\nMIIE\\n-----END OPENSSH PRIVATE KEY-----›\\n\"",
    "cut off: ‹-----BEGIN EC PRIVATE KEY-----\nMIIE›",
    "got ‹eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl› from it",
    "root ‹MDAxZGxvY2F0aW9uIGxvY2FsaG9zdA›",
    "microk8s join 192.168.11.90:25000/‹92b2db237428470dc4fcfc4ebbd9dc81/2c0cb3284b05›",
    "ubuntu:‹$6$saltsalt$abcdefghijklmnopqrstuvwxyz0123456789›:19000:0",
    "pushed with ‹ghp_abcdefghijklmnopqrstuvwxyz0123456789›",
    "Do ##class(Security.Users).ChangePassword(\"me\",\"‹hunter2›\")",
];

const STAYS: &[&str] = &[
    "\"secret\":{\"secretName\":\"iris-merge-cpf\"}",
    "volumes:\n- name: cpf\n  secret:\n    secretName: iris-merge-cpf",
    "MountVolume.SetUp failed for volume \"iris-cpf\" : secret \"iris-merge-cpf\" not found",
    "password of IRIS, readable by ubuntu",
    "http://192.168.11.110:52773/csp/sys/UtilHome.csp",
    "http://localhost:32000/v2/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "localhost:32000/0123456789abcdef/app:1",
    "PWD=/root",
    "OLDPWD=/var/lib",
    "SSH_AUTH_SOCK=/run/user/1000/agent",
    "--password-file /root/given --token-ttl 3600",
    "--authorization-mode=RBAC,Node --anonymous-auth=false",
    "--service-account-key-file=/var/snap/x.key --tls-private-key-file=/var/snap/y.key",
    "--kubelet-client-key=/var/snap/x.key",
    "automountServiceAccountToken: false",
    "ChangePassword=0",
    "\"password\": \"\", \"token\": null",
    "password: ${DB_PASSWORD}",
    "pass: 12, fail: 0; bypass: x",
    "tolerations:\n- key: node.kubernetes.io/not-ready\n  operator: Exists",
    "a bearer token is needed",
    "authorization: enabled",
    "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "GOOGLE_APPLICATION_CREDENTIALS=/etc/key.json",
    "sshd: authentication of user@host by key",
    "mysql -h db -P 3306",
    "image: docker.io/library/busybox:1.36",
    "resourceVersion: \"12345\", uid: 92b2db23-7428-470d-c4fc-fc4ebbd9dc81",
    "the price is $1$ and $5$",
    "secrets: 3, tokens: many, passwords: none",
];

fn without_signs(text: &str) -> (String, String) {
    let mut hidden = String::new();
    for (at, part) in text.split(['‹', '›']).enumerate() {
        hidden.push_str(if at % 2 == 0 { part } else { super::REDACTED });
    }
    (text.replace(['‹', '›'], ""), hidden)
}

#[test]
fn what_looks_like_a_secret_goes_and_nothing_beside_it() {
    assert!(GOES.len() >= 40);
    let wrong: Vec<_> =
        GOES.iter().map(|text| without_signs(text)).filter(|(text, hidden)| hide(text) != *hidden).collect();
    let wrong: Vec<_> =
        wrong.iter().map(|(text, hidden)| format!("{text}\n  gives {}\n  not   {hidden}", hide(text))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_speaks_of_secrets_stays() {
    let wrong: Vec<_> = STAYS.iter().filter(|text| hide(text) != **text).collect();
    let wrong: Vec<_> = wrong.iter().map(|text| format!("{text}\n  gives {}", hide(text))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A log is hidden when it is written, and again when it is packed.
#[test]
fn what_was_hidden_once_stays_as_it_is() {
    for text in GOES {
        let once = hide(&without_signs(text).0);
        assert_eq!(hide(&once), once, "{text}");
    }
}

#[test]
fn names_of_variables_tell_whether_they_hold_a_secret() {
    for name in
        ["DB_PASSWORD", "MYSQL_PWD", "apiKey", "AWS_SECRET_ACCESS_KEY", "smtp-pass", "TOKEN_FOR_X", "GITHUB_TOKEN"]
    {
        assert!(is_name(name), "{name}");
    }
    for name in ["TZ", "PATH", "BYPASS_CACHE", "ISC_CPF_MERGE_FILE", "KEYBOARD", "SSH_AUTH_SOCK"] {
        assert!(!is_name(name), "{name}");
    }
}

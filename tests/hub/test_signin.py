"""Signing in: the web pages, consent, and gradio's own login button; and what the pages show."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from hfembed.localhub import add_oauth_application

CALLBACK = "http://127.0.0.1:9/login/callback"


@pytest.fixture
def browser(hub, token):
    """A browser in which demo has signed in."""
    session = requests.Session()
    answer = session.post(f"{hub.url}/login", data={"token": token, "next": "/demo"}, timeout=10)
    assert answer.url == f"{hub.url}/demo"
    assert token not in str(session.cookies)
    return session


@pytest.fixture
def application(hub):
    pytest.importorskip("cryptography")
    return add_oauth_application(hub.root, "An app", [CALLBACK])


def _ask(hub, application, **changes):
    asked = {
        "response_type": "code",
        "client_id": application[0],
        "redirect_uri": CALLBACK,
        "scope": "openid profile",
        "state": "s1",
        "nonce": "n1",
    }
    return f"{hub.url}/oauth/authorize", {**asked, **changes}


def _fields(text):
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text))


def _decide(browser, hub, application, decision="allow", **changes):
    url, asked = _ask(hub, application, **changes)
    consent = browser.get(url, params=asked, timeout=10)
    assert "An app" in consent.text and "demo" in consent.text
    fields = {**_fields(consent.text), "decision": decision}
    answer = browser.post(url, data=fields, allow_redirects=False, timeout=10)
    return {key: values[0] for key, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def _exchange(hub, application, code, **changes):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **changes}
    return requests.post(f"{hub.url}/oauth/token", data=form, auth=application, timeout=10)


def test_a_code_becomes_a_token_once_and_the_token_says_who_one_is(hub, browser, application):
    answer = _decide(browser, hub, application)
    assert answer["state"] == "s1"
    told = _exchange(hub, application, answer["code"]).json()
    bearer = {"Authorization": f"Bearer {told['access_token']}"}
    user = requests.get(f"{hub.url}/oauth/userinfo", headers=bearer, timeout=10).json()
    assert user["preferred_username"] == "demo" and user["orgs"][0]["preferred_username"] == "acme"
    assert requests.get(f"{hub.url}/api/whoami-v2", headers=bearer, timeout=10).json()["name"] == "demo"
    # profile alone lets nothing be written
    refused = requests.post(f"{hub.url}/api/repos/create", headers=bearer, json={"name": "x"}, timeout=10)
    assert refused.status_code == 403
    assert _exchange(hub, application, answer["code"]).status_code == 400


def test_saying_no_gives_no_code(hub, browser, application):
    assert _decide(browser, hub, application, "deny")["error"] == "access_denied"


def test_a_wrong_secret_another_address_or_another_verifier_gets_nothing(hub, browser, application):
    code = _decide(browser, hub, application)["code"]
    assert _exchange(hub, (application[0], "wrong"), code).status_code == 401
    assert _exchange(hub, application, code, redirect_uri="http://127.0.0.1:9/else").status_code == 400
    url, asked = _ask(hub, application, redirect_uri="http://evil.example/")
    assert browser.get(url, params=asked, timeout=10).status_code == 400
    challenged = _decide(browser, hub, application, code_challenge="abc", code_challenge_method="S256")["code"]
    assert _exchange(hub, application, challenged, code_verifier="wrong").status_code == 400


def test_a_form_from_elsewhere_is_refused(hub, browser, application):
    url, asked = _ask(hub, application)
    forged = browser.post(
        url, data={**asked, "decision": "allow", "proof": "0" * 64}, allow_redirects=False, timeout=10
    )
    assert forged.status_code == 403


def test_nobody_is_sent_to_another_site_after_signing_in(hub, token):
    for target in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        answer = requests.post(
            f"{hub.url}/login", data={"token": token, "next": target}, allow_redirects=False, timeout=10
        )
        assert answer.headers["Location"] == "/"
    wrong = requests.post(f"{hub.url}/login", data={"token": "hf_wrong"}, allow_redirects=False, timeout=10)
    assert "wrong" in wrong.headers["Location"] and "set-cookie" not in wrong.headers


def test_the_session_of_a_browser_changes_nothing(hub, browser):
    answer = browser.post(f"{hub.url}/api/repos/create", json={"name": "x"}, timeout=10)
    assert answer.status_code == 401


def test_gradio_s_login_button_signs_a_visitor_in(hub, in_process, token):
    pytest.importorskip("gradio")
    pytest.importorskip("authlib")
    printed = in_process(
        """
        import os, re, socket, sys
        hub, root, token = sys.argv[1:]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
        from hfembed.localhub import add_oauth_application
        client, secret = add_oauth_application(root, "A gradio app", [f"http://127.0.0.1:{port}/login/callback"])
        os.environ |= {
            "OAUTH_CLIENT_ID": client, "OAUTH_CLIENT_SECRET": secret, "OAUTH_SCOPES": "openid profile jobs",
            "OPENID_PROVIDER_URL": hub, "SYSTEM": "spaces", "SPACE_ID": "demo/app",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        import gradio, gradio.http_server, requests
        # On a Space gradio starts a hot reloader, which walks the garbage collector's objects in a thread of
        # its own and so breaks tuples that the server is just building. It is not what is tested here.
        gradio.http_server.get_space = lambda: None
        def who(profile: gradio.OAuthProfile | None, token: gradio.OAuthToken | None) -> str:
            return f"{profile.username} {token.token[:9]}" if profile else "nobody"
        with gradio.Blocks() as app:
            gradio.LoginButton()
            out = gradio.Textbox()
            gradio.Button().click(who, None, out, api_name="who")
        app.launch(server_port=port, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False)
        here = f"http://127.0.0.1:{port}"
        cookies = {}
        def fetch(method, url, **options):
            # requests keeps Secure cookies off plain http; browsers send them to this machine.
            header = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())} if url.startswith(here) else {}
            answer = requests.request(method, url, headers=header, allow_redirects=False, timeout=20, **options)
            if url.startswith(here):
                cookies.update(answer.cookies.get_dict())
                for name, value in re.findall(r"(session)=([^;]+)", answer.headers.get("set-cookie", "")):
                    cookies[name] = value
            return answer
        def ask_who():
            event = fetch("POST", here + "/gradio_api/call/who", json={"data": []}).json()["event_id"]
            return fetch("GET", f"{here}/gradio_api/call/who/{event}").text
        assert "nobody" in ask_who()
        first = fetch("GET", here + "/login/huggingface")
        assert first.is_redirect, (first.status_code, first.text)
        consent_url = first.headers["Location"]
        browser = requests.Session()
        browser.post(hub + "/login", data={"token": token}, timeout=10)
        consent = browser.get(consent_url, timeout=10)
        assert consent.ok and "A gradio app" in consent.text, consent.text
        import html
        fields = {k: html.unescape(v) for k, v in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', consent.text)}
        back = browser.post(hub + "/oauth/authorize", data={**fields, "decision": "allow"}, allow_redirects=False, timeout=10)
        done = fetch("GET", back.headers["Location"])
        assert done.status_code in (302, 303, 307), done.text
        print(re.search(r'"([^"]+)"', ask_who().split("data:")[1])[1])
        sys.stdout.flush()
        os._exit(0)
        """,
        hub.url,
        str(hub.root),
        token,
    )
    assert printed.splitlines()[-1] == "demo hf_oauth_"


def test_a_repository_has_a_page_with_its_card_files_and_commits(hub, api, browser, model):
    card = b"---\nlicense: mit\ntags: [shown]\n---\n# The card\n\n<script>alert(1)</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    commit = api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=model, commit_message="a card")
    shown = requests.get(f"{hub.url}/{model}", timeout=10)
    assert shown.headers["Content-Type"].startswith("text/html")
    assert "<h1>The card</h1>" in shown.text and "<td>1</td>" in shown.text and "shown" in shown.text
    assert "<script>" not in shown.text
    assert "README.md" in requests.get(f"{hub.url}/{model}/tree/main", timeout=10).text
    assert "a card" in requests.get(f"{hub.url}/{model}/commits/main", timeout=10).text
    assert "+# The card" in requests.get(f"{hub.url}/{model}/commit/{commit.oid}", timeout=10).text
    assert requests.get(f"{hub.url}/{model}/blob/main/README.md", timeout=10).content == card
    api.update_repo_settings(model, private=True)
    assert requests.get(f"{hub.url}/{model}", timeout=10).status_code == 401
    assert browser.get(f"{hub.url}/{model}", timeout=10).status_code == 200
    assert model in browser.get(f"{hub.url}/", timeout=10).text


def test_a_pull_request_s_link_shows_it(hub, api, model):
    pull = api.upload_file(path_or_fileobj=b"new line\n", path_in_repo="a.txt", repo_id=model, create_pr=True)
    shown = requests.get(pull.pr_url, timeout=10)
    assert shown.status_code == 200 and "+new line" in shown.text


def test_an_address_that_is_none_is_not_found(hub):
    for path in ("/api/no-such-thing", "/nobody", "/api/models/a/b/c/d"):
        assert requests.get(hub.url + path, timeout=10).status_code == 404

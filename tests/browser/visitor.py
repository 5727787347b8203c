"""Somebody at a browser."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Response
from tests.waiting import until

from devstack.stack import Stack

PATIENCE_MS = 45_000
SERIOUS = ("serious", "critical")
WIDE, PHONE = (1100, 900), (390, 844)


@dataclass
class Visitor:
    stack: Stack
    page: Page
    failures: list[str] = field(default_factory=list)
    """What the browser has reported of pages of ours: blocked by the policy, errors of scripts, answers of 5xx."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, stack: Stack, chromium: Browser, *, size: tuple[int, int] = WIDE, javascript: bool = True
    ) -> AsyncIterator[Visitor]:
        context = await chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, java_script_enabled=javascript, bypass_csp=False
        )
        context.set_default_timeout(PATIENCE_MS)
        visitor = cls(stack, await context.new_page())
        visitor._watch()
        yield visitor
        await context.close()
        assert not visitor.failures, visitor.failures

    @property
    def url(self) -> str:
        return self.stack.url("portal")

    @property
    def is_here(self) -> bool:
        """Whether the page is one of the portal."""
        return self.page.url.startswith(self.url)

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def text(self) -> str:
        return await self.page.inner_text("main")

    async def loads_until(self, path: str, *texts: str, link: str | None = None) -> None:
        """Loads the page again until it has these texts, and this link."""

        async def found() -> bool:
            await self.go(path)
            content = await self.text()
            has_link = link is None or await self.page.get_by_role("link", name=link).count() > 0
            return has_link and all(each in content for each in texts)

        await until(found, seconds=PATIENCE_MS / 1000, what=f"{path} with {texts} {link or ''}")

    async def sign_in(self, role: str = "student", email: str | None = None) -> str:
        """Returns the address of the person."""
        await self.go("/sign-in")
        email = email or f"jordan.{uuid4().hex[:8]}@example.com"
        if role == "student":
            await self.page.fill("#email", email)
        await self.page.click(f"button[value={role}]")
        await self.page.wait_for_url(f"{self.url}/**")
        return email

    async def pay_by_card(self, number: str = "4242424242424242", *, email: str | None = None) -> None:
        """On the page of Stripe's sandbox."""
        await self.page.wait_for_url(f"{self.stack.url('stripe_sandbox')}/**")
        if email is not None:
            await self.page.fill("input[name=email]", email)
        await self.page.get_by_label("Card number").fill(number)
        await self.page.get_by_role("button", name=re.compile("^Pay ")).click()

    async def becomes(self, phase: str) -> None:
        await self.page.wait_for_selector(f"[data-phase={phase}]")

    async def picture(self, name: str) -> None:
        """If they are wanted."""
        if folder := os.environ.get("SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    async def is_accessible(self, name: str) -> None:
        """By axe-core. Also takes the page's picture."""
        await self.picture(name)
        found = await Axe().run(self.page)
        serious = [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}"
            for each in found.response["violations"]
            if each["impact"] in SERIOUS
        ]
        assert not serious, f"{name}:\n" + "\n".join(serious)
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} px wider than the screen"

    def _watch(self) -> None:
        def answered(response: Response) -> None:
            if response.status >= 500 and response.url.startswith(self.url):
                self.failures.append(f"{response.status} {response.url}")

        self.page.on("response", answered)
        self.page.on("pageerror", lambda error: self.failures.append(str(error)) if self.is_here else None)
        self.page.on(
            "console",
            lambda message: (
                self.failures.append(message.text)
                if "Content Security Policy" in message.text and self.is_here
                else None
            ),
        )

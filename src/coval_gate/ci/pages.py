"""What the pages of GitHub and GitLab have in common: the tested commit, and a comment on its pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from coval_gate.ci.host import Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context, Host, PageText
    from coval_gate.inputs.inputs import Inputs

Api = TypeVar("Api")


class ApiPage(Page, Generic[Api]):
    def __init__(
        self, input_: str, obstacle: str, host: Host, api: Callable[[], Api], inputs: Inputs, context: Context
    ) -> None:
        super().__init__(input_, obstacle)
        self._host, self._api, self._inputs, self._context = host, api, inputs, context

    def head_of(self, number: int, until: float) -> Procedure[str]:
        raise NotImplementedError

    def write(self, number: int, text: PageText, *, create: bool, until: float) -> Procedure[str]:
        """Update the oldest comment that begins with the name of `text`. Without one, create it if `create`.

        Return its URL; "" if there is none. A lost attempt may have created it, so every attempt looks for it first.
        """
        raise NotImplementedError

    @property
    def _may_be_judged(self) -> bool:
        """Whether a later step may have judged the run that this step, as it ends, was to report as not judged."""
        return self._inputs.mode == "launch" and not self.certain

    def locate(self, context: Context, *, until: float) -> Procedure[Context]:
        """Add the pull request's head, if only its number is known."""
        if not context.pull_request:
            return context
        return context._replace(sha=(yield from self.head_of(context.pull_request, until)), sha_is_known=True)

    def _comment_on(self, number: int, text: PageText, context: Context, until: float) -> Procedure[None]:
        head, name = (yield from self.head_of(number, until)), f"{context.web.change} {context.web.mark}{number}"
        if context.sha_is_known and head != context.sha:
            self._host.log(f"{name.capitalize()} has a newer commit, {head[:7]}, so its comment is not updated.")
            return
        # A passing verdict replaces a comment about a failure, even with on_failure.
        create = self._inputs.comment == "always" or not text.passes
        before = self.url
        self.url = yield from self.write(number, text, create=create, until=until)
        if self.url not in ("", before):  # an update follows the verdict, which is the log's last line
            self._host.log(f"Commented on {name}: {self.url}")

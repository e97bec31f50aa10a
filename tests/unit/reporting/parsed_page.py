"""A page as its tags, attributes and text, for tests of reports."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "br"}
HOSTILE = "</div></style><script>alert('x')</script><img src=http://evil/ onerror=alert(1)>{{ 7 * 7 }} &amp; $b$ <b>"


class Page(HTMLParser):
    """Tags, attributes and text of a page whose tags must nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        self.text += " "

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def words(self):
        return " ".join(self.text.split())

    def check_self_contained(self):
        """Nothing is run or fetched, and each id is there once."""
        assert not {"script", "link", "img", "iframe", "object", "base"} & set(self.tags)
        assert all(value.startswith("#") for name, value in self.attributes if name in ("href", "xlink:href", "src"))
        assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in self.attributes
        ids = [value for name, value in self.attributes if name == "id"]
        assert len(ids) == len(set(ids)) > 0

"""Which language a text is in, as IFEval asks langdetect."""

from functools import cache, lru_cache
from typing import Any


def known_languages() -> frozenset[str]:
    """The codes that langdetect knows: ISO 639-1, and zh-cn and zh-tw."""
    return frozenset(_factory().get_lang_list())


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """The language of a text; None: there are no letters in it to tell it by.

    langdetect draws by chance, here always from the seed 0.
    """
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.seed = 0
    detector.append(text)
    try:
        found: str = detector.detect()
    except LangDetectException:
        return None
    return found


@cache
def _factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory

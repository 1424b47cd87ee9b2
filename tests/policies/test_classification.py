"""Decree 809 Art. 3, 13: classes of data are a closed list, and every word for a secret is known as one."""

import pytest

from gateway.domain.classification import CLASSES, SECRETS, class_of, nearest, secret_of
from gateway.policy import default_policies_root
from gateway.policy.law.words import enumerations
from gateway.store.directory.validation import validate_dataset
from tests.policies.cases import dataset


@pytest.mark.parametrize(
    "word",
    [
        *(name for names in SECRETS.values() for name in names),
        "Top_Secret",
        "ＳＥＣＲＥＴ",
        " 机 密 ",
        "机密★10年",
        "秘密（5年）",
        "Work-Secret",
        "Internal-use-only",
    ],
)
def test_a_secret_is_no_government_data_by_any_name(word: str) -> None:
    """In either language, whatever the letters, dashes and blanks, and with a mark beside it."""
    assert secret_of(word)
    assert class_of(word) == ""
    assert "Art. 3" in str(validate_dataset(dataset(classification=word)))


def test_an_unknown_class_is_refused_with_the_nearest_known() -> None:
    assert "`personal` (个人信息)" in str(validate_dataset(dataset(classification="persnal")))
    assert nearest("人口基本信息").startswith("`population`")
    known = validate_dataset(dataset(classification="个人信息"))
    assert not [each for each in known if each["field"] == "classification"]


def test_the_law_lists_the_classes_that_the_directory_knows() -> None:
    """One list in Cedar and one for directories' names: they hold the same classes."""
    text = (default_policies_root() / "schema.cedarschema").read_text("utf-8")
    assert set(enumerations(text)["Classification"]) == {*CLASSES, "state-secret", "work-secret", "unknown"}
    names = [name for own in CLASSES.values() for name in own]
    assert len(names) == len(set(names))
    assert all(class_of(name) == slug for slug, own in CLASSES.items() for name in (slug, *own))

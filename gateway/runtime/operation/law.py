"""The page `docs/law.md`: each article, its sentences in both languages, what proves them, and what is not proved."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gateway.domain.policies import Proved
from gateway.policy.law.articles import Article, read_articles
from gateway.policy.law.layers import default_policies_root, parse_layers, read_set
from gateway.policy.offline.tables import read_tables
from gateway.policy.proofs.kept import proof_digest, read_proofs
from gateway.policy.proofs.theorems import Theorem, read_theorems

NOT_PROVED: Mapping[str, tuple[str, str]] = {
    "policy": ("policies, by decision tables alone", "策略，仅由决策表检验"),
    "built": ("policies that are built from the directory", "由目录生成的策略"),
    "act": ("steps of a process, each by a person whose power a policy gives", "流程步骤，各由策略授权的人员作出"),
    "record": ("records, which are made beside the decision", "记录，在决策之外生成"),
    "clock": ("clocks in working days, counted beside the decision", "工作日时限，在决策之外计算"),
    "import": ("what the directory's import refuses", "目录导入时的拒绝"),
    "gateway": ("the gateway's own code", "网关自身的代码"),
}
"""What upholds an article without a theorem."""


def law_page(root: Path | None = None) -> str:
    """The page, from the policies below `root` and what is kept of their proofs."""
    folder = root or default_policies_root()
    articles, kept = read_articles(folder), read_proofs(folder)
    policies = read_set(folder, list(dict.fromkeys(name for each in kept for name in each.layers)))
    theorems = {one.id: one for one in read_theorems(policies)}
    layers = parse_layers(policies.files, policies.layers)
    tables: dict[str, set[str]] = defaultdict(set)
    for table in read_tables(policies):
        for by in {name for case in table.cases for name in case.expected.by if name in layers.policies}:
            # A case shows an article where it names a policy that upholds it.
            for article in layers.policies[by].articles:
                tables[article].add(table.file)
    return "\n".join(
        [
            "# The law, sentence by sentence",
            "",
            "Made by `python -m gateway.runtime.operation.pages docs` from the policies; change it there.",
            "",
            "A theorem holds over every request there can be, whatever grants, orders and entries stand",
            "([policies.md](policies.md)). What was proved, and by what, is kept in `policies/proofs.json`.",
            "",
            "定理对一切可能的请求成立，无论存在何种授权、指令和目录条目。",
            "证明结果及所用程序版本存于 `policies/proofs.json`。",
            "",
            "| Layers 层 | Theorems 定理 | Statements about policies 关于策略的陈述 | Result 结果 | By 程序 |",
            "|---|---|---|---|---|",
            *_results(folder, kept),
            "",
            "## Sentences that are proved 已证明的语句",
            "",
            "| Article 条款 | Sentence | 语句 | Theorem 定理 | Decision tables 决策表 |",
            "|---|---|---|---|---|",
            *_sentences(articles.values(), theorems, tables),
            "",
            "## What is not proved, and why 未证明的条款及原因",
            "",
            "Orders by time, quotas, what was drawn, and clocks are counted beside Cedar; tests hold them.",
            "",
            "指令的先后、限额、汇聚统计和时限在 Cedar 之外计算，由测试检验。",
            "",
            "| Article 条款 | What it asks | What upholds it | 由何保障 |",
            "|---|---|---|---|",
            *_others(articles.values()),
            "",
        ]
    )


def _results(root: Path, kept: Sequence[Proved]) -> Iterator[str]:
    for one in kept:
        result = one.result if proof_digest(read_set(root, one.layers)) == one.of else "not proved since a change"
        by = ", ".join(one.tools)
        yield f"| {' + '.join(one.layers)} | {one.theorems} | {one.statements} | {result} | {by} |"


def _sentences(
    articles: Iterable[Article], theorems: Mapping[str, Theorem], tables: Mapping[str, set[str]]
) -> Iterator[str]:
    for article in articles:
        # What comes along with a region's layer stands in no file.
        along = (name for name, one in theorems.items() if one.comes_along and article.article in one.articles)
        for name in (*article.theorems, *along):
            theorem = theorems.get(name)
            if theorem is not None:
                shown = ", ".join(f"`{file}`" for file in sorted(tables.get(article.article, ()))) or "-"
                yield f"| {article.article} | {theorem.sentence} | {theorem.sentence_zh} | `{name}` | {shown} |"


def _others(articles: Iterable[Article]) -> Iterator[str]:
    for article in articles:
        if article.theorems:
            continue
        said = [NOT_PROVED[by] for by in article.enforced_by]
        english = "; ".join(one[0] for one in said) or f"nothing: {article.why}"
        yield f"| {article.article} | {article.duty} | {english} | {'；'.join(one[1] for one in said) or '无'} |"

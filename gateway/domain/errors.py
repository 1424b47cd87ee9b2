"""Refusals as values of one kind: a code, a sentence, and what to do next.

The core raises `GatewayError(code, detail)`. `PROBLEMS` is the one table that turns a code into an HTTP status
and the words of an RFC 9457 problem, for the data plane and the control API alike. A `detail` never holds an
exception's text, a data value or a credential (INVARIANT: NO-VALUES).
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One row of the table: what a code means to a person, in English and Chinese.

    Args:
        status: the HTTP status the code is answered with.
        title: a short sentence that is the same for every occurrence (RFC 9457 §3.1.4).
        title_zh: the same in Chinese.
        advice: what the reader can do next.
        advice_zh: the same in Chinese.
        retry_after_seconds: sent as `Retry-After` where waiting helps, else None.
    """

    status: int
    title: str
    title_zh: str
    advice: str
    advice_zh: str
    retry_after_seconds: int | None = None


TAKEN = "this id is taken: take another one"
"""What is told of an id that something has already: one sentence, whosever it is and whether or not one may see it."""


def another_names(department: str) -> str:
    """What is told of an id in another department's namespace, taken or free."""
    return f"names that begin with `{department}.` are department `{department}`'s own: take another one"


class GatewayError(Exception):
    """A refusal or failure with a machine code, a human sentence, and optional members for the problem document.

    Args:
        code: a key of `PROBLEMS`.
        detail: one sentence about this occurrence; no data values, no credentials, no exception text.
        headers: (name, value) of fields the answer bears besides, such as `WWW-Authenticate` or `DPoP-Nonce`.
        members: extension members of the problem document (RFC 9457 §3.2), JSON values only.
    """

    def __init__(
        self, code: str, detail: str = "", *, headers: tuple[tuple[str, str], ...] = (), **members: Any
    ) -> None:
        if code not in PROBLEMS:
            raise ValueError(f"`{code}` is not a problem code")
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.headers = headers
        self.members: Mapping[str, Any] = members

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code

    @property
    def problem(self) -> Problem:
        """The table's row for this error."""
        return PROBLEMS[self.code]


class InDoubtError(GatewayError):
    """The state did not say whether it has kept a change: it stands, or it does not, and who asks again is told."""


def problem_document(error: GatewayError, *, chinese: bool = False, instance: str | None = None) -> dict[str, Any]:
    """The RFC 9457 document of `error`; `instance` names the use record where there is one.

    The advice stands as an extension member `advice`. Extension members never replace a standard one.
    """
    row = error.problem
    document: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": row.title_zh if chinese else row.title,
        "status": row.status,
        "advice": row.advice_zh if chinese else row.advice,
    }
    if error.detail:
        document["detail"] = error.detail
    if instance:
        document["instance"] = f"/v1/records/{instance}"
    return {**error.members, **document}


def prefers_chinese(accept_language: str) -> bool:
    """Whether `Accept-Language` (RFC 9110 §12.5.4) ranks Chinese above English; English where neither is named.

    Bounded: only the first 16 ranges of at most 256 characters are read.
    """
    best = {"zh": -1.0, "en": -1.0}
    for entry in accept_language[:256].split(",")[:16]:
        tag, _, parameter = entry.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        if primary not in best:
            continue
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        best[primary] = max(best[primary], quality)
    return best["zh"] > 0 and best["zh"] > best["en"]


PROBLEMS: Mapping[str, Problem] = {
    # What a caller of the data plane may see.
    "malformed-request": Problem(
        400,
        "the request is malformed",
        "请求格式有误",
        "correct the request as the detail says and send it again",
        "请按说明修正请求后重新发送",
    ),
    "purpose-missing": Problem(
        400,
        "the request declares no purpose",
        "请求未声明使用目的",
        "send the header `Sharing-Purpose` with a purpose of your grant (Decree 809 Art. 25 ¶1)",
        "请在请求头 `Sharing-Purpose` 中填写授权所载的使用目的（第809号令第二十五条第一款）",
    ),
    "items-unknown": Problem(
        400,
        "the request asks for items that the dataset does not have",
        "请求的数据项不在目录之中",
        "compare `Sharing-Items` with the directory entry of the dataset",
        "请对照目录核对 `Sharing-Items`",
    ),
    "credential-missing": Problem(
        401,
        "the request bears no credential",
        "请求缺少身份凭证",
        "get an access token from `/oauth/token` and send it as `Authorization: Bearer`",
        "请从 `/oauth/token` 获取访问令牌，并以 `Authorization: Bearer` 发送",
    ),
    "credential-invalid": Problem(
        401,
        "the credential is not valid",
        "身份凭证无效",
        "get a new access token; where that fails, ask your operator to check the system's registration",
        "请重新获取访问令牌；仍失败时请联系运维核对系统登记",
    ),
    "not-granted": Problem(
        403,
        "no grant covers this call",
        "没有覆盖本次调用的授权",
        "apply for sharing under Decree 809 Art. 20, naming basis, scenario, scope, mode and time limit",
        "请依据第809号令第二十条提出共享申请，写明依据、场景、使用范围、共享方式和使用时限",
    ),
    "purpose-not-granted": Problem(
        403,
        "the declared purpose is not granted",
        "声明的使用目的未获授权",
        "use a purpose of your grant, or ask the supplier's consent for another (Decree 809 Art. 25 ¶1)",
        "请使用授权所载目的；需用于其他目的的，应取得提供部门同意（第809号令第二十五条第一款）",
    ),
    "unit-mismatch": Problem(
        403,
        "the request names another unit than the caller's department",
        "请求所载单位与调用方所属部门不一致",
        "send your own department's unified social credit code; if it is not registered, ask the competent department",
        "请填写本部门的统一社会信用代码；尚未登记的，请联系主管部门（第809号令第三十五条）",
    ),
    "declaration-missing": Problem(
        403,
        "a use without a grant does not say what it must",
        "未经授权的直接使用缺少必要声明",
        "name scenario and operator; to verify, one person by the interface's own parameter, and nothing else",
        "请声明使用场景和经办人；核验须以接口规定的参数指明一名当事人，且不得附带其他查询条件",
    ),
    "guess-refused": Problem(
        403,
        "a value that could be guessed is not verified without a grant",
        "未经授权不得核验可被穷举的值",
        "apply for a grant (Decree 809 Art. 20): numbers of a few digits, yes or no are not verified without one",
        "请依据第809号令第二十条申请授权；位数较少的数值、是否类的值不予直接核验",
    ),
    "keeper-calls": Problem(
        403,
        "the operator is one who keeps the keys of the calling system",
        "经办人是保管该信息系统密钥的人员",
        "let another person operate, or have another officer enter the system's keys (Decree 809 Art. 10)",
        "请由其他人员经办，或由另一名工作人员登记该系统的密钥（第809号令第十条）",
    ),
    "outside-scope": Problem(
        403,
        "the department is not one that the entry may be shared with",
        "该目录的共享范围不包括本部门",
        "read the entry's scope (Decree 809 Art. 15); only a new version of it, examined and released, widens that",
        "请查阅目录载明的共享范围（第809号令第十五条）；需扩大的，由提供部门修订目录并经审核发布",
    ),
    "items-not-granted": Problem(
        403,
        "an item asked for is not granted",
        "请求的数据项超出授权范围",
        "ask only for granted items, or ask the supplier's consent to widen the scope (Decree 809 Art. 25 ¶1)",
        "请仅请求授权的数据项；需扩大使用范围的，应取得提供部门同意（第809号令第二十五条第一款）",
    ),
    "outside-hours": Problem(
        403,
        "the grant does not hold at this hour",
        "当前不在授权的有效时段内",
        "call within the hours of your grant, or of the rule by which you call without one, China Standard Time",
        "请在授权（或无授权使用所依据的规则）载明的每日时段（北京时间）内调用",
    ),
    "parameters-not-granted": Problem(
        403,
        "the parameters are not those that the grant allows",
        "请求参数超出授权范围",
        "send the parameters that your grant is limited to, once, where the interface's entry describes them",
        "请按接口目录说明的位置发送授权限定的参数，且仅发送一次",
    ),
    "system-not-granted": Problem(
        403,
        "the grant is for other systems or interfaces",
        "授权限于其他系统或接口",
        "call from a system, and at an interface, that your grant names",
        "请使用授权载明的系统和接口",
    ),
    "mode-not-granted": Problem(
        403,
        "the sharing mode is not granted",
        "该共享方式未获授权",
        "use a mode of your grant (Decree 809 Art. 22)",
        "请使用授权所载的共享方式（第809号令第二十二条）",
    ),
    "grant-not-yet-valid": Problem(
        403,
        "the grant is not yet valid",
        "授权尚未生效",
        "call again from the date the grant begins",
        "请在授权生效之日起调用",
    ),
    "grant-expired": Problem(
        403,
        "the grant has expired",
        "授权已过期",
        "apply for renewal (Decree 809 Art. 20)",
        "请申请续期（第809号令第二十条）",
    ),
    "grant-closed": Problem(
        403,
        "the grant is closed",
        "授权已关闭",
        "apply anew if the purpose arises again (Decree 809 Art. 20); what was drawn is to be destroyed (Art. 27 ¶1)",
        "目的再次产生的，请重新申请（第809号令第二十条）；已获取的数据应予销毁（第二十七条第一款）",
    ),
    "suspended": Problem(
        403,
        "sharing is suspended",
        "共享已被暂停",
        "rectify as the suspension asks and have it lifted by who ordered it (Decree 809 Art. 27 ¶2)",
        "请按暂停决定的要求整改，并由作出决定的部门解除（第809号令第二十七条第二款）",
    ),
    "terminated": Problem(
        403,
        "sharing has been terminated",
        "共享已被终止",
        "apply anew under Decree 809 Art. 20, or raise a dispute under Art. 28",
        "请依据第809号令第二十条重新申请，或依据第二十八条提出争议处理",
    ),
    "non-shareable": Problem(
        403,
        "the dataset is not shareable",
        "该数据属于不予共享类",
        "see the reason and legal basis in the directory entry (Decree 809 Art. 15)",
        "请查阅目录所载的理由和依据（第809号令第十五条）",
    ),
    "assurance-too-low": Problem(
        403,
        "the credential's assurance is too low for this dataset's grade",
        "凭证的保障级别低于该数据等级的要求",
        "use a sender-constrained token: mutual TLS or DPoP",
        "请使用绑定发送方的令牌：双向 TLS 或 DPoP",
    ),
    "interface-unknown": Problem(
        404,
        "no such interface",
        "接口不存在",
        "compare the path with `/{supplier}/{interface}/…` in the directory",
        "请对照目录核对路径 `/{supplier}/{interface}/…`",
    ),
    "body-too-large": Problem(
        413,
        "the request body is too large",
        "请求体过大",
        "send less at a time; the interface's entry names the limit",
        "请减少单次发送的数据量；上限见接口登记",
    ),
    "target-too-long": Problem(
        414,
        "the request line is too long",
        "请求行过长",
        "shorten the path or query to less than 8 KiB",
        "请将路径或查询串缩短至 8 KiB 以内",
    ),
    "headers-too-large": Problem(
        431,
        "the header section is too large",
        "请求头过大",
        "send at most 100 fields and 32 KiB",
        "请求头最多 100 个字段、32 KiB",
    ),
    "request-timeout": Problem(
        408,
        "the request did not arrive in time",
        "请求未在时限内到达",
        "send the request without pauses",
        "请不间断地发送请求",
    ),
    "method-unknown": Problem(
        501,
        "the method is not implemented",
        "未实现该请求方法",
        "use a method of the interface's entry",
        "请使用接口登记所列的请求方法",
    ),
    "version-unsupported": Problem(
        505,
        "the HTTP version is not spoken here",
        "不支持该 HTTP 版本",
        "speak HTTP/1.1",
        "请使用 HTTP/1.1",
    ),
    "quota-exhausted": Problem(
        429,
        "the grant's quota for today is used up",
        "授权的当日额度已用尽",
        "call again tomorrow, or ask for a larger quota",
        "请次日再调用，或申请提高额度",
    ),
    "words-exhausted": Problem(
        429,
        "this system has said too many new scenarios, operators and purposes today",
        "该系统当日新增的使用场景、操作人员和用途过多",
        "what was said before goes on; name scenarios by kind and operators by staff number, or call tomorrow",
        "已使用过的仍可继续使用；场景请按类别填写，操作人员请填工号；否则请次日再调用",
    ),
    "rate-limited": Problem(
        429,
        "too many calls at once",
        "并发调用过多",
        "slow down and try again",
        "请降低频率后重试",
        1,
    ),
    "carrier-cannot-limit": Problem(
        403,
        "the proxy that carries this call cannot keep it within the grant",
        "承载该调用的代理无法将其限制在授权范围内",
        "make this call through the gateway, or have a grant of every item without limits",
        "请经网关发起该调用，或取得包含全部数据项且无其他限制的授权",
    ),
    "answer-not-filterable": Problem(
        502,
        "the supplier's answer cannot be reduced to the granted items",
        "提供部门的应答无法裁剪为授权的数据项",
        "ask the supplier to correct the interface's entry or its answer",
        "请联系提供部门更正接口登记或应答格式",
    ),
    "supplier-unreachable": Problem(
        502,
        "the supplier cannot be reached",
        "无法连接提供部门",
        "try again later; if it lasts, tell the supplier",
        "请稍后重试；持续失败时请告知提供部门",
    ),
    "supplier-refused": Problem(
        502,
        "the supplier refused the gateway, or sent it elsewhere",
        "提供部门拒绝了网关的请求，或要求转向其他地址",
        "tell the supplier: your own credential and grant are not the cause",
        "请告知提供部门；原因不在您的凭证或授权",
    ),
    "records-unavailable": Problem(
        503,
        "the use cannot be recorded, so it is not made",
        "无法写入使用记录，调用未执行",
        "try again later; the operator has been alerted by the gateway's metrics",
        "请稍后重试",
        2,
    ),
    "records-incomplete": Problem(
        503,
        "the records are not all known yet, so they are not answered for",
        "使用记录尚未全部建立索引，暂不作答",
        "ask again after a while, or ask for what is known with `allow_partial=true`: such an answer says so",
        "请稍后重试，或以 `allow_partial=true` 查询已知部分（结果将注明不完整）",
        5,
    ),
    "record-pruned": Problem(
        410,
        "the record is no longer kept",
        "该记录已超过保存期限并已清除",
        "its time was over and retention removed it; the log still proves that something stood there",
        "记录保存期满后已按规定清除；日志仍可证明其曾经存在",
    ),
    "state-stale": Problem(
        503,
        "the gateway cannot confirm that the grant still stands",
        "网关暂时无法确认授权是否仍然有效",
        "try again in a few seconds",
        "请数秒后重试",
        2,
    ),
    "supplier-busy": Problem(
        503,
        "the supplier takes no more calls at present",
        "提供部门接口当前调用已满",
        "wait a moment and try again, with fewer calls at once; other suppliers are not affected",
        "请稍候并减少并发后重试；其他提供部门不受影响",
        2,
    ),
    "overloaded": Problem(
        503,
        "this gateway has more work than it can do",
        "网关负载已满",
        "wait a moment and try again, with fewer calls at once",
        "请稍候并减少并发后重试",
        1,
    ),
    "memory-exhausted": Problem(
        503,
        "the gateway has no memory left for this answer",
        "网关内存不足，无法处理该应答",
        "ask for less at once, and read answers as they come; the supplier may have been called already",
        "请减少单次请求的数据量，并及时读取应答；提供部门接口可能已被调用",
        2,
    ),
    "draining": Problem(
        503,
        "this gateway process is shutting down",
        "网关进程正在退出",
        "try again at once on a new connection",
        "请立即以新连接重试",
        1,
    ),
    "supplier-timeout": Problem(
        504,
        "the supplier did not answer in time",
        "提供部门未在时限内应答",
        "try again later; if it lasts, tell the supplier",
        "请稍后重试；持续失败时请告知提供部门",
    ),
    # What a caller of the control plane may see besides.
    "invalid-input": Problem(
        422,
        "the input has faults",
        "输入有误",
        "correct every fault listed under `faults` and send it again; nothing was changed",
        "请更正 `faults` 所列的全部问题后重新提交；未作任何更改",
    ),
    "act-not-permitted": Problem(
        403,
        "the officer may not do this",
        "该人员无权进行此操作",
        "ask an officer of the department that may; roles are bound to department and region",
        "请由有权部门的人员操作；角色与部门、区域绑定",
    ),
    "not-found": Problem(404, "no such thing", "对象不存在", "check the identifier", "请核对标识"),
    "method-not-allowed": Problem(
        405, "the method is not allowed here", "不支持该方法", "see `/openapi.json`", "请查阅 `/openapi.json`"
    ),
    "verification-failed": Problem(
        409,
        "what was to be verified is not what was signed",
        "待核验内容与签名时不一致",
        "rely on none of it: keep the file as evidence, get it anew from the gateway, and report it if that fails too",
        "请勿采信：保留该文件作为证据，向网关重新获取；仍不一致的，应予报告",
    ),
    "conflict": Problem(
        409,
        "the act does not fit the present state",
        "操作与当前状态不符",
        "read the present state and decide again",
        "请读取当前状态后重新决定",
    ),
    "precondition-failed": Problem(
        412,
        "someone changed it meanwhile",
        "对象已被他人更改",
        "read it again and send its `ETag` in `If-Match`",
        "请重新读取，并在 `If-Match` 中发送其 `ETag`",
    ),
    "host-not-proved": Problem(
        422,
        "the host did not prove that it knows of the claim",
        "主机未能证明知悉该登记",
        "have the service show the nonce at the path of the claim, or sign it by its certificate's key, and ask again",
        "请在登记给出的路径提供随机数，或以其证书私钥签名，然后重新验证",
    ),
    "idempotency-mismatch": Problem(
        422,
        "the idempotency key was used for another request",
        "幂等键已用于其他请求",
        "use a new key for a new request",
        "新的请求请使用新的幂等键",
    ),
    "barrier-incomplete": Problem(
        503,
        "the stop is in force, but not every process has confirmed it",
        "停止决定已生效，但尚有进程未确认",
        "it takes effect at the latest when the freshness limit has run out; call again to see it confirmed",
        "最迟在新鲜度时限届满时全面生效；请再次调用以确认",
        2,
    ),
    "unavailable": Problem(
        503, "a part this needs is not running", "所需的部件未运行", "try again later", "请稍后重试", 2
    ),
    "internal": Problem(
        500,
        "the gateway failed",
        "网关内部错误",
        "try again; tell the operator the time of the call",
        "请重试，并将调用时间告知运维人员",
    ),
}

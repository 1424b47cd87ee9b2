"""The words of directory spreadsheets: column names and cell values of the 2017 guide and of Decree 809, and ours."""

from collections.abc import Mapping

from gateway.domain.directory import Level, SharingAttribute, SharingMode, UpdateCycle

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("目录标识", "条目标识"),
    "category": ("信息资源分类", "分类", "主题分类", "数据目录分类"),
    "name": ("信息资源名称", "数据目录名称", "目录名称", "资源名称"),
    "code": ("信息资源代码", "数据目录代码", "目录代码", "资源代码"),
    "supplier": ("信息资源提供方", "提供方", "数据提供部门", "提供部门"),
    "supplier_code": ("信息资源提供方代码", "提供方代码", "数据提供部门代码"),
    "abstract": ("信息资源摘要", "摘要", "数据摘要"),
    "format": ("信息资源格式", "格式", "数据格式"),
    "items": ("信息项名称", "信息项", "数据项", "数据项名称"),
    "item_id": ("信息项标识", "信息项英文名称", "数据项标识", "字段名", "字段名称"),
    "item_type": ("数据类型", "信息项类型", "数据项类型"),
    "item_sensitive": ("敏感个人信息", "是否敏感个人信息"),
    "sharing_attribute": ("共享类型", "共享属性"),
    "conditions": ("共享条件", "使用条件", "共享使用条件"),
    "sharing_modes": ("共享方式",),
    "openness": ("开放属性", "是否向社会开放"),
    "update_cycle": ("更新周期", "更新频率", "数据更新频率"),
    "released_on": ("发布日期",),
    "related_codes": ("关联资源代码", "关联信息资源代码", "关联目录代码"),
    "classification": ("数据分类", "分类类别", "安全分类"),
    "grade": ("数据分级", "分级", "数据级别", "安全等级"),
    "scope": ("共享范围",),
    "recipient_departments": ("限定部门", "限定共享部门"),
    "recipient_levels": ("限定层级", "限定共享层级"),
    "recipient_regions": ("限定区划", "限定共享区划"),
    "recipient_matters": ("限定事项", "限定共享事项"),
    "purposes": ("使用目的", "使用用途", "用途", "共享用途"),
    "non_shareable_reason": ("不予共享理由", "不予共享的理由"),
    "legal_basis": ("不予共享依据", "法律依据", "共享依据", "依据"),
    "retention_years": ("记录保存年限",),
    "retention_citation": ("记录保存依据",),
}
"""Field -> the column names it goes by; an export writes the first."""

EVERYONE = "不限"
"""In one of the columns that bound who may have the data: every department may."""

SECRECY = ("涉密属性", "是否涉密", "涉密", "密级", "涉密等级", "涉密级别", "保密属性", "定密情况", "是否涉及国家秘密")
"""Columns that say whether an entry is a secret: none may be (Decree 809 Art. 3). An export never writes them."""

NOT_SECRET = frozenset({"", "否", "不涉密", "非涉密", "非密", "无", "公开", "不涉及", "no", "0", "false"})

DEPARTMENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("部门标识", "机构标识"),
    "name": ("部门名称", "机构名称", "单位名称"),
    "region": ("行政区划代码", "区划代码"),
    "level": ("部门层级", "行政层级", "层级"),
    "parent": ("上级部门标识", "上级部门"),
    "competent": ("数据主管部门", "是否数据主管部门"),
    "code": ("统一社会信用代码", "部门代码", "机构代码"),
    "matters": ("本部门业务事项", "职责事项"),
}
"""As `COLUMNS`, of a sheet of departments."""

PURPOSE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("用途标识", "使用目的标识"),
    "name": ("用途名称", "使用目的名称"),
    "basis": ("用途依据", "使用目的依据", "办事依据"),
}
"""As `COLUMNS`, of a sheet of purposes."""

LEVELS: Mapping[str, Level] = {
    **dict.fromkeys(("国家级", "国家", "中央"), Level.NATIONAL),
    **dict.fromkeys(("省级", "省"), Level.PROVINCE),
    **dict.fromkeys(("市级", "市", "地级", "地市级"), Level.CITY),
    **dict.fromkeys(("县级", "县", "区县级", "区级"), Level.COUNTY),
    **dict.fromkeys(("乡镇级", "乡级", "乡镇", "镇级", "街道级"), Level.TOWNSHIP),
    **{level.value: level for level in Level},
}

ITEM_FIELDS = frozenset({"items", "item_id", "item_type", "item_sensitive"})
"""Fields that differ from row to row of one entry."""

ATTRIBUTES: Mapping[str, SharingAttribute] = {
    "1": SharingAttribute.UNCONDITIONAL,
    "无条件共享": SharingAttribute.UNCONDITIONAL,
    "无条件": SharingAttribute.UNCONDITIONAL,
    "2": SharingAttribute.CONDITIONAL,
    "有条件共享": SharingAttribute.CONDITIONAL,
    "有条件": SharingAttribute.CONDITIONAL,
    "3": SharingAttribute.NON_SHAREABLE,
    "不予共享": SharingAttribute.NON_SHAREABLE,
    **{attribute.value: attribute for attribute in SharingAttribute},
}

MODES: Mapping[str, SharingMode] = {
    "服务接口": SharingMode.QUERY,
    "接口": SharingMode.QUERY,
    "接口服务": SharingMode.QUERY,
    "接口调用": SharingMode.QUERY,
    "查询": SharingMode.QUERY,
    "核验": SharingMode.VERIFY,
    "核对": SharingMode.VERIFY,
    "比对": SharingMode.VERIFY,
    "批量交换": SharingMode.BATCH,
    "数据库交换": SharingMode.BATCH,
    "库表交换": SharingMode.BATCH,
    "库表": SharingMode.BATCH,
    "文件下载": SharingMode.DOWNLOAD,
    "文件": SharingMode.DOWNLOAD,
    "下载": SharingMode.DOWNLOAD,
    **{mode.value: mode for mode in SharingMode},
}

CYCLES: Mapping[str, UpdateCycle] = {
    "实时": UpdateCycle.REAL_TIME,
    **{
        prefix + word: cycle
        for prefix in ("", "每", "按")
        for word, cycle in (
            ("日", UpdateCycle.DAY),
            ("天", UpdateCycle.DAY),
            ("周", UpdateCycle.WEEK),
            ("月", UpdateCycle.MONTH),
            ("季", UpdateCycle.QUARTER),
            ("季度", UpdateCycle.QUARTER),
            ("年", UpdateCycle.YEAR),
            ("年度", UpdateCycle.YEAR),
        )
    },
    **{cycle.value: cycle for cycle in UpdateCycle},
}

TYPES: Mapping[str, str] = {
    "字符型": "string",
    "字符型C": "string",
    "备注型": "string",
    "备注型M": "string",
    "通用型": "string",
    "通用型G": "string",
    "数值型": "number",
    "数值型N": "number",
    "货币型": "number",
    "货币型Y": "number",
    "浮点型": "number",
    "浮点型F": "number",
    "双精度型": "number",
    "双精度型B": "number",
    "整型": "integer",
    "整型I": "integer",
    "日期型": "date",
    "日期型D": "date",
    "日期时间型": "datetime",
    "日期时间型T": "datetime",
    "逻辑型": "boolean",
    "逻辑型L": "boolean",
    "二进制型": "binary",
}
"""The guide's data types, with and without their letters; any other word is kept as it stands."""

YES = frozenset({"是", "1", "true", "yes", "y"})
NO = frozenset({"否", "0", "false", "no", "n", ""})

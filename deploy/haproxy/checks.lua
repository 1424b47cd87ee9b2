-- Asks the gateway for each call's decision and record, and closes the record when the answer has begun.
-- HAProxy 2.5 or newer (core.httpclient). Any fault is a refusal.
local url = os.getenv("SHARING_CHECKS")
local credential = os.getenv("SHARING_CARRIER")
local told = { "sharing-record", "sharing-system", "sharing-department", "sharing-purpose", "sharing-mode",
    "sharing-items", "sharing-grant", "traceparent" }
local own = { ["sharing-carrier"] = true, ["x-forwarded-method"] = true, ["x-forwarded-uri"] = true,
    ["x-forwarded-host"] = true, ["x-forwarded-proto"] = true, ["x-forwarded-for"] = true,
    ["content-length"] = true, ["transfer-encoding"] = true, ["connection"] = true, ["host"] = true }

core.register_action("sharing_check", { "http-req" }, function(txn)
    txn:set_var("txn.sharing_status", 503)
    local headers, host = {}, nil
    for name, values in pairs(txn.http:req_get_headers()) do
        local list = {}
        for _, value in pairs(values) do list[#list + 1] = value end
        if name == "host" then host = list end
        -- What the carrier says itself overwrites what its caller sent under that name.
        if not own[name] then headers[name] = list end
    end
    headers["sharing-carrier"] = { credential }
    headers["x-forwarded-method"] = { txn.f:method() }
    headers["x-forwarded-uri"] = { txn.sf:pathq() }
    headers["x-forwarded-host"] = host
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-forwarded-for"] = { txn.sf:src() }
    local answer = core.httpclient():get { url = url .. "/check", headers = headers, timeout = 5000 }
    if answer == nil or answer.status == nil then return end
    txn:set_var("txn.sharing_status", answer.status)
    if answer.status ~= 200 then return end
    -- Nothing of the gateway's words comes from the caller, and its credential stops here.
    for name, _ in pairs(txn.http:req_get_headers()) do
        if name:find("^sharing%-") or name == "authorization" or name == "dpop" then txn.http:req_del_header(name) end
    end
    for _, name in ipairs(told) do
        local values = answer.headers[name]
        if values ~= nil then txn.http:req_set_header(name, values[0]) end
    end
    txn:set_var("txn.sharing_record", answer.headers["sharing-record"][0])
    txn:set_var("txn.sharing_close", answer.headers["sharing-close"][0])
end, 0)

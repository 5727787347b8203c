"""The operator page. It gets all data from /sandbox/api and inserts it as text."""

from __future__ import annotations

OPERATOR_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Milady sandbox</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; overflow-wrap: anywhere; }
th, td:nth-last-child(-n+2) { white-space: nowrap; }
@media (max-width: 48rem) { td:last-child { white-space: normal; } }
button { margin: 0 .4rem .4rem 0; padding: .3rem .8rem; }
[aria-live] { color: #555; }
</style>
</head>
<body>
<h1>Milady sandbox</h1>
<h2>Faults</h2>
<p id="faults" aria-live="polite">none</p>
<p id="buttons"></p>
<h2>Enrollments</h2>
<table><thead><tr><th>Enrollment</th><th>Student</th><th>Program</th><th>Status</th><th>Created</th></tr></thead>
<tbody id="enrollments"></tbody></table>
<h2>Last requests</h2>
<table><thead><tr><th>Request</th><th>Idempotency key</th><th>Fault</th><th>Status</th></tr></thead>
<tbody id="requests"></tbody></table>
<script>
const presets = {
  "none": [],
  "slow (5 s)": [{kind: "slow", seconds: 5}],
  "down (500)": [{kind: "status", status: 500}],
  "next POST times out after success": [{kind: "acts_then_times_out", requests: 1, methods: ["POST"]}],
  "redirect": [{kind: "redirect"}],
  "rate limit": [{kind: "rate_limit", retry_after: "5"}],
  "garbage": [{kind: "garbage"}],
};
const byId = (id) => document.getElementById(id);
const rows = (id, found) => byId(id).replaceChildren(...found.map((cells) => {
  const row = document.createElement("tr");
  row.append(...cells.map((text) => Object.assign(document.createElement("td"), {textContent: text ?? ""})));
  return row;
}));
const time = (text) => text.slice(0, 19).replace("T", " ") + " UTC";
async function refresh() {
  const [faults, enrollments, requests] = await Promise.all(["faults", "enrollments", "requests"].map(
    async (name) => (await fetch("/sandbox/api/" + name)).json()));
  byId("faults").textContent = faults.faults.map((f) => f.kind + (f.requests ? " x" + f.requests : "")).join(", ")
    || "none";
  rows("enrollments", enrollments.items.reverse().map(
    (e) => [e.id, e.student_ref, e.program, e.status, time(e.created_at)]));
  rows("requests", requests.items.slice(-20).reverse().map(
    (r) => [r.method + " " + r.path, r.idempotency_key, r.fault, r.status]));
}
for (const [label, faults] of Object.entries(presets)) {
  const button = Object.assign(document.createElement("button"), {textContent: label, onclick: async () => {
    await fetch("/sandbox/api/faults", {
      method: "PUT", headers: {"Content-Type": "application/json"}, body: JSON.stringify({faults})});
    await refresh();
  }});
  byId("buttons").append(button);
}
refresh();
setInterval(refresh, 2000);
</script>
</body>
</html>
"""

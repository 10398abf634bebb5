// The runner starts this twice: as a step, and after the post steps of all later steps.
const { appendFileSync } = require("node:fs");
const { execFileSync } = require("node:child_process");

if (process.env.STATE_begun) execFileSync("bash", ["-euc", process.env.INPUT_RUN], { stdio: "inherit" });
else appendFileSync(process.env.GITHUB_STATE, "begun=true\n");

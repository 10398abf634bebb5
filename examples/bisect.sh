#!/bin/sh
# Finds the commit that broke the agent: git bisect start BAD GOOD && git bisect run ./bisect.sh
# It needs the command coval-gate, COVAL_API_KEY and the ids in the environment, and a script that deploys a commit to a
# preview agent. Copy it to where no commit changes it, such as /tmp.
set -u

./deploy-preview.sh || exit 125 # this commit cannot be tested: git skips it

coval-gate run \
    --agent-id "$COVAL_PREVIEW_AGENT_ID" --persona-id "$COVAL_PERSONA_ID" --test-set-id "$COVAL_TEST_SET_ID" \
    --threshold 'Resolved: rate(YES) >= 90%' --confidence 95%
code=$?

# git takes 1 to 124 for a bad commit, 125 for one to skip, and ends at 128 or more.
case $code in
2 | 3 | 4) exit 125 ;; # an error, doubt or a time-out shows nothing of the commit
*) exit $code ;;       # 0: good; 1: bad; 130: you stopped it
esac

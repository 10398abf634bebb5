# Stage 1 installs into a virtual environment; only that environment travels on, without pip, caches or a compiler.
# A release hands over the same base by its digest.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build

RUN python -m venv --without-pip /opt/venv
COPY requirements/runtime.txt /build/
# --no-deps: the lock is complete, and leaves out what only an unused part of a package needs.
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --no-deps --no-compile \
        --requirement /build/runtime.txt
COPY src/coval_gate /opt/venv/lib/python3.13/site-packages/coval_gate
COPY src/coval_cli /opt/venv/lib/python3.13/site-packages/coval_cli
COPY examples /opt/venv/lib/python3.13/site-packages/coval_cli/examples
COPY entrypoint.py post_entrypoint.py /app/
RUN printf '#!/opt/venv/bin/python -IuB\nfrom coval_cli.command import command\ncommand()\n' > /app/coval-gate \
    && chmod +x /app/coval-gate
# Some packages bring their tests along, one even as a top-level module of that name. PyYAML brings a parser in C, too
# (2.7 MB); configuration files are read by the one in Python. pydantic brings its version 1 along, which nothing imports.
# Bytecode is made here once, because the action runs with -B. Nothing changes in an image: no need to check for it.
RUN find /opt/venv/lib \( -type d -name tests -o -name '_yaml*' \
        -o -path '*/pydantic/v1' \) -prune -exec rm -r {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib


FROM ${BASE}

# The action installs nothing, so it needs no installer. (pip stays in the layers of the base.)
RUN find / -xdev \( -name ensurepip -o -name pip -o -name 'pip-*' -o -name 'pip[0-9]*' \) -prune -exec rm -r {} +

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY --from=build /app/coval-gate /usr/local/bin/
# The official base has no bytecode of the standard library: loading once without -B makes it for the part in use.
RUN ["/opt/venv/bin/python", "-I", "-c", "import coval_gate.step.main, coval_gate.step.post, coval_cli.command, \
coval_gate.report.formats.json, coval_gate.report.formats.junit, coval_gate.report.formats.html, yaml"]

ARG BASE
ARG SOURCE=
ARG REVISION=
ARG VERSION=
LABEL org.opencontainers.image.title="Coval Gate" \
      org.opencontainers.image.description="Launches a Coval evaluation, waits for it, and lets it decide a check" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${BASE}"

# No USER: GitHub's runner mounts its files with root as their owner, and another user could not write the outputs.
# -I keeps the caller's checkout and PYTHON* variables from choosing what runs here; it also ignores
# PYTHONUNBUFFERED and PYTHONDONTWRITEBYTECODE, hence -u and -B. The path is absolute because PATH is the caller's.
ENTRYPOINT ["/opt/venv/bin/python", "-I", "-u", "-B", "/app/entrypoint.py"]

# Stage 1 installs into a virtual environment. Stage 2 copies only that: no pip, caches or compiler.
# A release passes the base by its digest.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build

RUN python -m venv --without-pip /opt/venv
COPY requirements/runtime.txt /build/
# --no-deps: the lock is complete, without the dependencies of parts that are not used.
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --no-deps --no-compile \
        --requirement /build/runtime.txt
COPY src/coval_gate /opt/venv/lib/python3.13/site-packages/coval_gate
COPY src/coval_cli /opt/venv/lib/python3.13/site-packages/coval_cli
COPY examples /opt/venv/lib/python3.13/site-packages/coval_cli/examples
COPY entrypoint.py post_entrypoint.py /app/
RUN printf '#!/opt/venv/bin/python -IuB\nfrom coval_cli.command import command\ncommand()\n' > /app/coval-gate \
    && chmod +x /app/coval-gate
# Removes the packages' tests, PyYAML's parser in C (2.7 MB; the gate uses the one in Python) and pydantic's copy of its
# version 1, which nothing imports. Compiles bytecode here, because the action runs with -B; Python never compares it with
# its source, which cannot change in an image.
RUN find /opt/venv/lib \( -type d -name tests -o -name '_yaml*' \
        -o -path '*/pydantic/v1' \) -prune -exec rm -r {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib


FROM ${BASE}

# The action installs nothing, so it needs no installer. (The base's own layers still contain pip.)
RUN find / -xdev \( -name ensurepip -o -name pip -o -name 'pip-*' -o -name 'pip[0-9]*' \) -prune -exec rm -r {} +

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY --from=build /app/coval-gate /usr/local/bin/
# The official base has no bytecode of the standard library. Loading the modules once without -B compiles what they use.
RUN ["/opt/venv/bin/python", "-I", "-c", "import coval_gate.step.main, coval_gate.step.post, coval_cli.command, \
coval_gate.features.files, yaml"]

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

# No USER: root owns the files that GitHub's runner mounts, and another user could not write the outputs.
# No ENTRYPOINT: other CI systems start a shell in the image, and Azure Pipelines requires that it has none.
# With -I, the caller's checkout and PYTHON* variables cannot change what runs. It also ignores PYTHONUNBUFFERED and
# PYTHONDONTWRITEBYTECODE, hence -u and -B. The path is absolute because the caller sets PATH.
CMD ["/opt/venv/bin/python", "-I", "-u", "-B", "/app/entrypoint.py"]

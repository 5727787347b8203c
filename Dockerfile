# One Dockerfile for everything of ours that runs in a container; BuildKit is not needed.
#   docker build .                                   all services in one image; which one runs is said at `docker run`
#   docker build --build-arg SERVICE=enrollment .    one service alone
#   docker build --target sandbox .                  the stand-ins for Stripe and Milady, and the mail catcher
# Run it as `docker run IMAGE <package> api|consumers|relay|migrate`.
ARG PYTHON_IMAGE=python:3.13-slim


# --- what goes in: our packages, each with its migrations, and the pins of what they need
FROM ${PYTHON_IMAGE} AS source
WORKDIR /source
COPY . .
ARG SERVICE=""
RUN python3 deploy/pinned.py requirements.lock shared/contracts shared/ledger shared/kit services/* >/services.txt \
 && python3 deploy/pinned.py requirements.lock --without /services.txt sandboxes/* aiosmtpd >/sandbox.txt \
 && mkdir /service /sandbox \
 && for home in shared/contracts shared/ledger shared/kit services/${SERVICE:-*}; do \
      cp -R $home/src/. /service/ || exit 1; \
      if [ -d $home/migrations ]; then cp -R $home/migrations /service/$(basename $home/src/*)/; fi; \
    done \
 && cp -R sandboxes/*/src/. shared/contracts/src/. shared/kit/src/. deploy/mail_catcher.py /sandbox/ \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /service /sandbox \
 && chmod -R a+rX /service /sandbox


# --- what others have made: the same layer for all services, made anew only when a pin changes
FROM ${PYTHON_IMAGE} AS dependencies
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/venv
COPY --from=source /services.txt /
RUN python3 -m pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary=:all: \
      --requirement /services.txt

FROM dependencies AS sandbox-dependencies
COPY --from=source /sandbox.txt /
RUN python3 -m pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary=:all: --no-deps \
      --target /opt/sandbox --requirement /sandbox.txt


# --- what every image of ours has
FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bursar \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip*
COPY --from=dependencies /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/bursar \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 \
    HTTP_HOST=0.0.0.0 HTTP_PORT=8000 HEALTHCHECK_PATH=/healthz
WORKDIR /opt/bursar
EXPOSE 8000
# Alive, which is what an orchestrator restarts for; HEALTHCHECK_PATH=/readyz makes it: able to do its work.
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 CMD ["python", "-S", "-c", \
  "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['HTTP_PORT'] + os.environ['HEALTHCHECK_PATH'], timeout=5)"]
# No shell in between: SIGTERM reaches python, which drains.
ENTRYPOINT ["python", "-m"]


FROM runtime AS sandbox
COPY --from=sandbox-dependencies /opt/sandbox /opt/bursar
COPY --from=source /sandbox /opt/bursar
RUN mkdir /mail && chown 10001:10001 /mail
ENV STRIPE_SANDBOX_HOST=0.0.0.0 STRIPE_SANDBOX_PORT=8000 MILADY_SANDBOX_HOST=0.0.0.0 MILADY_SANDBOX_PORT=8000 \
    MAIL_DIR=/mail SMTP_PORT=10025
EXPOSE 10025
USER 10001:10001


FROM runtime AS service
COPY --from=source /service /opt/bursar
USER 10001:10001

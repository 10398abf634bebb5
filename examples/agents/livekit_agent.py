"""Answer Coval's simulated callers with LiveKit Agents (livekit-agents 1.8), without a room or a LiveKit server.

    coval-gate attach livekit_agent:answer --run RUN_ID

`build_session` and `build_agent` stand for yours. A session hears and speaks through its `input.audio` and
`output.audio`, which are the simulated caller here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from typing import TYPE_CHECKING, Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, CloseEvent, ErrorEvent, llm, stt, tts
from livekit.agents.language import LanguageCode
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from stub import RATE, Ear, speech

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection

CHUNK_BYTES = RATE // 50 * 2  # 20 ms


def build_session() -> AgentSession[None]:
    """Return your session. Your speech recognition, model, voice and turn detection take the place of the stubs."""
    return AgentSession(
        stt=EarSTT(),
        llm=FileLLM(),
        tts=FileTTS(),
        vad=None,
        turn_handling={"turn_detection": "stt", "endpointing": {"min_delay": 0}},  # the stub has waited for a pause
        session_close_transcript_timeout=0,  # when the session closes, the caller has said everything
    )


def build_agent() -> Agent:
    """Return your agent."""
    return Agent(instructions="Help the caller.")


async def answer(connection: AudioConnection) -> None:
    """Run a session until the conversation is over, and raise what went wrong in it."""
    outcome = Outcome()
    current_outcome.set(outcome)
    session = build_session()
    session.on("error", outcome.on_error)
    session.on("close", outcome.on_close)
    session.input.audio = CallerInput(connection)
    session.output.audio = CallerOutput(connection)
    waits = [asyncio.create_task(connection.wait_closed()), asyncio.create_task(outcome.ended.wait())]
    try:
        await session.start(build_agent())
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*done)
    finally:
        for wait in waits:
            wait.cancel()
        await session.aclose()
    outcome.check()


class Outcome:
    """Hold what ended a session: the first error, or the agent, which hung up."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._error: BaseException | None = None

    def on_error(self, event: ErrorEvent) -> None:
        """Note an error of a model that its retries did not cure."""
        if not getattr(event.error, "recoverable", False):
            self.fail(getattr(event.error, "error", None) or RuntimeError(str(event.error)))

    def on_close(self, event: CloseEvent) -> None:
        """Note that the session closed by itself."""
        if event.error:
            self.fail(event.error.error)
        self.ended.set()

    def fail(self, error: BaseException) -> None:
        """End the session with an error; the first one counts."""
        self._error = self._error or error
        self.ended.set()

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self._error:
            raise self._error


# Sessions run at once; each one's tasks inherit its own value.
current_outcome: contextvars.ContextVar[Outcome | None] = contextvars.ContextVar("current_outcome", default=None)


class Crashes(logging.Handler):
    """Notice exceptions in the agent's own code. LiveKit Agents logs them, and goes on without the agent's reply."""

    def emit(self, record: logging.LogRecord) -> None:
        """Let an exception end the session whose task logged it."""
        outcome = current_outcome.get()
        if outcome and record.exc_info and record.exc_info[1]:
            outcome.fail(record.exc_info[1])


logging.getLogger("livekit.agents").addHandler(Crashes(level=logging.ERROR))


class CallerInput(AudioInput):
    """Hear the caller."""

    def __init__(self, connection: AudioConnection) -> None:
        super().__init__(label="Coval")
        self._audio = connection.receive_audio()

    async def __anext__(self) -> rtc.AudioFrame:
        """Return the next audio of the caller."""
        audio = await anext(self._audio)
        return rtc.AudioFrame(audio, sample_rate=RATE, num_channels=1, samples_per_channel=len(audio) // 2)


class CallerOutput(AudioOutput):
    """Speak to the caller. The connection sends at the speed of speech, so that no audio waits here."""

    def __init__(self, connection: AudioConnection) -> None:
        super().__init__(label="Coval", capabilities=AudioOutputCapabilities(pause=True), sample_rate=RATE)
        self._connection = connection
        self._playing = asyncio.Event()
        self._playing.set()
        self._sent_bytes: int | None = None  # None between two segments
        self._interrupted = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Send a part of what the agent says."""
        await super().capture_frame(frame)
        if self._sent_bytes is None:
            self._sent_bytes = 0
            self.on_playback_started(created_at=time.time())
        audio = bytes(frame.data)
        try:
            for start in range(0, len(audio), CHUNK_BYTES):
                await self._playing.wait()
                await self._connection.send_audio(audio[start : start + CHUNK_BYTES])
                self._sent_bytes += len(audio[start : start + CHUNK_BYTES])
        except asyncio.CancelledError:
            self._interrupted = True
            raise

    def flush(self) -> None:
        """End a segment: all of it was sent, or the caller interrupted it."""
        super().flush()
        if self._sent_bytes is None:
            return
        seconds, interrupted = self._sent_bytes / (2 * RATE), self._interrupted
        self._sent_bytes, self._interrupted = None, False
        self.on_playback_finished(playback_position=seconds, interrupted=interrupted)

    def clear_buffer(self) -> None:
        """Do nothing: LiveKit Agents cancels `capture_frame`, and no audio waits."""

    def pause(self) -> None:
        """Wait: the caller may have begun to speak."""
        super().pause()
        self._playing.clear()

    def resume(self) -> None:
        """Go on: it was only a noise."""
        super().resume()
        self._playing.set()


class EarSTT(stt.STT):
    """Stand for speech recognition: tell when the caller speaks and pauses, but not what was said."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(self, *_args: object, **_options: object) -> stt.SpeechEvent:
        raise NotImplementedError("the stub recognizes streams only")

    def stream(self, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_options: object) -> stt.RecognizeStream:
        """Return a stream that hears the caller."""
        return EarStream(stt=self, conn_options=conn_options, sample_rate=RATE)


class EarStream(stt.RecognizeStream):
    """Turn the caller's speech and pauses into the events of speech recognition."""

    async def _run(self) -> None:
        ear = Ear()
        async for frame in self._input_ch:
            heard = ear.hear(bytes(frame.data)) if isinstance(frame, rtc.AudioFrame) else None
            if heard == "speech":
                self._tell(stt.SpeechEventType.START_OF_SPEECH)
                self._tell(stt.SpeechEventType.INTERIM_TRANSCRIPT)
            elif heard == "pause":
                self._tell(stt.SpeechEventType.FINAL_TRANSCRIPT)
                self._tell(stt.SpeechEventType.END_OF_SPEECH)

    def _tell(self, kind: stt.SpeechEventType) -> None:
        text = stt.SpeechData(language=LanguageCode("en"), text="(the caller spoke)")
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[text]))


class FileLLM(llm.LLM):
    """Stand for a model: reply the same to everything."""

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: Any = NOT_GIVEN,  # noqa: ARG002 - the stub calls no tools
        tool_choice: Any = NOT_GIVEN,  # noqa: ARG002
        extra_kwargs: Any = NOT_GIVEN,  # noqa: ARG002
    ) -> llm.LLMStream:
        """Return a stream with the reply."""
        return FileReply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class FileReply(llm.LLMStream):
    """The reply of the stub model."""

    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content="This is what the file says.")
        self._event_ch.send_nowait(llm.ChatChunk(id="file", delta=delta))


class FileTTS(tts.TTS):
    """Stand for a voice: speak from a file."""

    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1)

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> tts.ChunkedStream:
        """Return a stream with the file's audio."""
        return FileSpeech(tts=self, input_text=text, conn_options=conn_options)


class FileSpeech(tts.ChunkedStream):
    """The audio of the stub's voice."""

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(request_id="file", sample_rate=RATE, num_channels=1, mime_type="audio/pcm")
        output_emitter.push(speech())
        output_emitter.flush()

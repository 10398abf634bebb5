"""Answer Coval's simulated callers with a Pipecat pipeline (pipecat-ai 1.14).

    coval-gate attach pipecat_agent:answer --run RUN_ID

`run_bot` stands for yours. Pipecat's examples give it a transport, and so does `answer`: the bot itself stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner
from stub import RATE, Ear, speech

if TYPE_CHECKING:
    import asyncio

    from coval_agent_sdk import AudioConnection


async def answer(connection: AudioConnection) -> None:
    """Run the bot until the conversation is over, and raise what went wrong in its pipeline."""
    transport = CovalTransport(connection)
    await run_bot(transport)
    transport.check()


async def run_bot(transport: BaseTransport) -> None:
    """Run one conversation. Your speech recognition, model and voice take the place of `SpeaksFromFile`."""
    pipeline = Pipeline([transport.input(), SpeaksFromFile(), transport.output()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport: BaseTransport, _client: object) -> None:
        await worker.cancel()

    # The gate handles signals, and ends this task at the right time.
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


class CovalTransport(BaseTransport):
    """Connect a pipeline to one simulated caller.

    The events are those of Pipecat's other transports: `on_client_connected` and `on_client_disconnected`.
    """

    def __init__(self, connection: AudioConnection) -> None:
        super().__init__()
        # No silence at the end: when a pipeline ends, the caller has gone.
        params = TransportParams(
            audio_in_enabled=True,
            audio_in_sample_rate=RATE,
            audio_out_enabled=True,
            audio_out_sample_rate=RATE,
            audio_out_10ms_chunks=2,
            audio_out_end_silence_secs=0,
        )
        self._connection = connection
        self._input = CallerInput(self, connection, params)
        self._output = CallerOutput(connection, params)
        self._error: Exception | None = None
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")

    def input(self) -> FrameProcessor:
        """Return the processor that hears the caller."""
        return self._input

    def output(self) -> FrameProcessor:
        """Return the processor that the caller hears."""
        return self._output

    def check(self) -> None:
        """Raise the first error of the pipeline. Pipecat itself only logs it."""
        if self._error:
            raise self._error

    async def connected(self) -> None:
        """Tell the bot that the caller is there."""
        await self._call_event_handler("on_client_connected", self._connection)

    async def disconnected(self, error: Exception | None = None) -> None:
        """Tell the bot that the conversation is over."""
        self._error = self._error or error
        await self._call_event_handler("on_client_disconnected", self._connection)


class CallerInput(BaseInputTransport):
    """Hear the caller, and notice the errors of the pipeline, which all pass its first processor."""

    def __init__(self, transport: CovalTransport, connection: AudioConnection, params: TransportParams) -> None:
        super().__init__(params)
        self._transport = transport
        self._connection = connection
        self._listening: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """Listen from now on."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._listening = self.create_task(self._listen())
        await self._transport.connected()

    async def cleanup(self) -> None:
        """Stop listening."""
        await super().cleanup()
        if self._listening:
            await self.cancel_task(self._listening)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """End the conversation at an error, unless it is one that Pipecat's services recover from."""
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame) and not _transient(frame):
            await self._transport.disconnected(frame.exception or RuntimeError(frame.error))

    async def _listen(self) -> None:
        try:
            async for audio in self._connection.receive_audio():
                await self.push_audio_frame(InputAudioRawFrame(audio, sample_rate=RATE, num_channels=1))
        except RuntimeError as error:  # the SDK's errors are RuntimeErrors
            await self._transport.disconnected(error)
        else:
            await self._transport.disconnected()


class CallerOutput(BaseOutputTransport):
    """Speak to the caller."""

    def __init__(self, connection: AudioConnection, params: TransportParams) -> None:
        super().__init__(params)
        self._connection = connection

    async def start(self, frame: StartFrame) -> None:
        """Take audio from now on."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send 20 ms of audio. The connection does so at the speed of speech."""
        return await self._connection.send_audio(frame.audio)


def _transient(frame: ErrorFrame) -> bool:
    return frame.category in {ErrorCategory.CONNECTIVITY, ErrorCategory.RATE_LIMIT, ErrorCategory.SERVER}


class SpeaksFromFile(FrameProcessor):
    """Stand for a bot: speak when the caller pauses, and stop when the caller speaks again."""

    def __init__(self) -> None:
        super().__init__()
        self._ear = Ear()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Hear the caller's audio, and pass all other frames on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)
            return
        heard = self._ear.hear(frame.audio)
        if heard == "speech":
            await self.broadcast_interruption()
        elif heard == "pause":
            await self.push_frame(TTSStartedFrame())
            await self.push_frame(TTSAudioRawFrame(speech(), sample_rate=RATE, num_channels=1))
            await self.push_frame(TTSStoppedFrame())

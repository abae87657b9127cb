//! Chat: the request as its bytes, the reply as a stream of events.
//!
//! The dialect of this module is that of `OpenAI`'s chat completions: the main door and two of the
//! three kinds of upstream speak it, so that their bytes can pass untouched. The typed form
//! ([`Conversation`], [`Completion`], [`ChatChunk`]) is for those who translate.

mod answer;
mod conversation;
mod prompt;
mod reply;
mod request;
mod said;

pub use answer::{
    AssistantMessage, CallDelta, ChatChunk, Choice, ChunkChoice, ChunkWriter, Completion, CompletionDetails, Delta,
    FunctionDelta, PromptDetails, UsageWire,
};
pub use conversation::{
    AllowedTools, AudioData, Content, Conversation, FileData, FunctionCall, FunctionSpec, ImageUrl, Message,
    NamedFunction, Part, ReasoningEffort, ResponseFormat, Role, SchemaSpec, Stop, Tool, ToolCall, ToolChoice,
};
pub use prompt::Prompt;
pub use reply::{ChatEvent, ChatReply, ChatSource, Finish};
pub use request::ChatRequest;
pub use said::{Said, Saying};

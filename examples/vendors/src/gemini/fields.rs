//! The fields Gemini knows.

/// What a field holds.
pub(super) enum Kind {
    Text,
    Number,
    Integer,
    Flag,
    /// Taken as it is: arguments, results, JSON schemas.
    Free,
    /// The subset of `OpenAPI`.
    Schema,
    Message(&'static [(&'static str, Kind)]),
    Many(&'static Kind),
}

use Kind::{Flag, Free, Integer, Many, Message, Number, Schema, Text};

pub(super) type Fields = [(&'static str, Kind)];

static BLOB: &Fields = &[("mimeType", Text), ("data", Text), ("displayName", Text)];
static FILE: &Fields = &[("mimeType", Text), ("fileUri", Text), ("displayName", Text)];
static PART: Kind = Message(&[
    ("text", Text),
    ("thought", Flag),
    ("thoughtSignature", Text),
    ("inlineData", Message(BLOB)),
    ("fileData", Message(FILE)),
    ("functionCall", Message(&[("id", Text), ("name", Text), ("args", Free)])),
    (
        "functionResponse",
        Message(&[
            ("id", Text),
            ("name", Text),
            ("response", Free),
            ("parts", Many(&PART)),
            ("willContinue", Flag),
            ("scheduling", Text),
        ]),
    ),
    ("executableCode", Free),
    ("codeExecutionResult", Free),
    ("toolCall", Free),
    ("toolResponse", Free),
    ("videoMetadata", Free),
    ("mediaResolution", Free),
    ("partMetadata", Free),
]);
static CONTENT: &Fields = &[("role", Text), ("parts", Many(&PART))];
static MESSAGE: Kind = Message(CONTENT);
static TOOL: Kind = Message(&[
    ("functionDeclarations", Many(&DECLARATION)),
    ("googleSearch", Free),
    ("googleSearchRetrieval", Free),
    ("urlContext", Free),
    ("codeExecution", Free),
    ("googleMaps", Free),
    ("fileSearch", Free),
    ("computerUse", Free),
]);
static DECLARATION: Kind = Message(&[
    ("name", Text),
    ("description", Text),
    ("behavior", Text),
    ("parameters", Schema),
    ("parametersJsonSchema", Free),
    ("response", Schema),
    ("responseJsonSchema", Free),
]);
static TOOL_CONFIG: &Fields = &[
    (
        "functionCallingConfig",
        Message(&[("mode", Text), ("allowedFunctionNames", Many(&Text)), ("streamFunctionCallArguments", Flag)]),
    ),
    ("retrievalConfig", Free),
    ("includeServerSideToolInvocations", Flag),
];
static SAFETY: Kind = Message(&[("category", Text), ("threshold", Text)]);
static GENERATION: &Fields = &[
    ("temperature", Number),
    ("topP", Number),
    ("topK", Number),
    ("candidateCount", Integer),
    ("maxOutputTokens", Integer),
    ("stopSequences", Many(&Text)),
    ("responseLogprobs", Flag),
    ("logprobs", Integer),
    ("presencePenalty", Number),
    ("frequencyPenalty", Number),
    ("seed", Integer),
    ("responseMimeType", Text),
    ("responseSchema", Schema),
    ("responseJsonSchema", Free),
    ("responseModalities", Many(&Text)),
    ("mediaResolution", Text),
    ("speechConfig", Free),
    ("imageConfig", Message(&[("aspectRatio", Text), ("imageSize", Text)])),
    ("thinkingConfig", Message(&[("includeThoughts", Flag), ("thinkingBudget", Integer), ("thinkingLevel", Text)])),
    ("enableEnhancedCivicAnswers", Flag),
];
static GENERATE_FIELDS: &Fields = &[
    ("model", Text),
    ("contents", Many(&MESSAGE)),
    ("systemInstruction", Message(CONTENT)),
    ("tools", Many(&TOOL)),
    ("toolConfig", Message(TOOL_CONFIG)),
    ("safetySettings", Many(&SAFETY)),
    ("generationConfig", Message(GENERATION)),
    ("cachedContent", Text),
    ("labels", Free),
    ("serviceTier", Text),
    ("store", Flag),
    ("continuationToken", Text),
];
static EMBED_FIELDS: &Fields = &[
    ("model", Text),
    ("content", Message(CONTENT)),
    ("taskType", Text),
    ("title", Text),
    ("outputDimensionality", Integer),
    ("embedContentConfig", Free),
    ("autoTruncate", Flag),
];
static EMBED_ONE: Kind = Message(EMBED_FIELDS);

pub(super) static GENERATE: Kind = Message(GENERATE_FIELDS);
pub(super) static COUNT: Kind =
    Message(&[("contents", Many(&MESSAGE)), ("generateContentRequest", Message(GENERATE_FIELDS))]);
pub(super) static EMBED: Kind = Message(EMBED_FIELDS);
pub(super) static BATCH_EMBED: Kind = Message(&[("requests", Many(&EMBED_ONE))]);

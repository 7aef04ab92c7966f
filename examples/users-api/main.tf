# The users API as deploy.py makes it. On AWS leave `endpoints` and the three `skip_…` lines out.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

variable "endpoint" {
  default = "http://127.0.0.1:8081"
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    apigateway = var.endpoint
  }
}

locals {
  methods = toset(["GET", "POST"])
  invocations = {
    for name in ["users", "authorizer"] : name =>
    "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:${name}/invocations"
  }
}

resource "aws_api_gateway_rest_api" "users" {
  name = "users-api"
  endpoint_configuration {
    types = ["REGIONAL"]
  }
}

resource "aws_api_gateway_resource" "users" {
  rest_api_id = aws_api_gateway_rest_api.users.id
  parent_id   = aws_api_gateway_rest_api.users.root_resource_id
  path_part   = "users"
}

resource "aws_api_gateway_authorizer" "tokens" {
  rest_api_id     = aws_api_gateway_rest_api.users.id
  name            = "tokens"
  type            = "TOKEN"
  authorizer_uri  = local.invocations["authorizer"]
  identity_source = "method.request.header.Authorization"
}

resource "aws_api_gateway_method" "users" {
  for_each         = local.methods
  rest_api_id      = aws_api_gateway_rest_api.users.id
  resource_id      = aws_api_gateway_resource.users.id
  http_method      = each.key
  authorization    = "CUSTOM"
  authorizer_id    = aws_api_gateway_authorizer.tokens.id
  api_key_required = true
}

resource "aws_api_gateway_integration" "users" {
  for_each                = local.methods
  rest_api_id             = aws_api_gateway_rest_api.users.id
  resource_id             = aws_api_gateway_resource.users.id
  http_method             = aws_api_gateway_method.users[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = local.invocations["users"]
}

resource "aws_api_gateway_deployment" "users" {
  rest_api_id = aws_api_gateway_rest_api.users.id
  triggers = {
    redeployment = sha1(jsonencode([aws_api_gateway_method.users, aws_api_gateway_integration.users]))
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "prod" {
  rest_api_id   = aws_api_gateway_rest_api.users.id
  deployment_id = aws_api_gateway_deployment.users.id
  stage_name    = "prod"
}

resource "aws_api_gateway_api_key" "web" {
  name = "web"
}

resource "aws_api_gateway_usage_plan" "standard" {
  name = "standard"
  api_stages {
    api_id = aws_api_gateway_rest_api.users.id
    stage  = aws_api_gateway_stage.prod.stage_name
  }
  throttle_settings {
    rate_limit  = 100
    burst_limit = 200
  }
  quota_settings {
    limit  = 10000
    period = "MONTH"
  }
}

resource "aws_api_gateway_usage_plan_key" "web" {
  key_id        = aws_api_gateway_api_key.web.id
  key_type      = "API_KEY"
  usage_plan_id = aws_api_gateway_usage_plan.standard.id
}

output "api" {
  value = aws_api_gateway_rest_api.users.id
}

output "key" {
  value     = aws_api_gateway_api_key.web.value
  sensitive = true
}
